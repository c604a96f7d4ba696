'use strict';

// Puts what the server draws in its place. An event is a JSON object: HTML by the id of its element.

const notice = document.getElementById('notice');
const updated = document.getElementById('updated');
const pause = document.getElementById('pause');
// The newest HTML by id, and what of it is not on the page yet because the page is paused.
const newest = new Map();
const waiting = new Set();
let paused = false;

function tell(text) {
  notice.textContent = text;
  notice.hidden = text === '';
}

// Pictures are loaded before they are shown, so that none flickers. One that is gone meanwhile leaves its place as it
// is until the next event.
async function put(id) {
  const place = document.getElementById(id);
  const html = newest.get(id);
  const next = document.createElement('div');
  next.innerHTML = html;
  try {
    await Promise.all(Array.from(next.querySelectorAll('img'), (image) => image.decode()));
  } catch {
    return;
  }
  if (place === null || newest.get(id) !== html) {
    return;
  }
  if (place.tagName === 'TITLE') {
    document.title = next.textContent;
  } else {
    place.replaceChildren(...next.childNodes);
  }
}

function listen() {
  const events = new EventSource('events');
  events.onopen = () => tell('');
  events.onmessage = (message) => {
    for (const [id, html] of Object.entries(JSON.parse(message.data))) {
      newest.set(id, html);
      waiting.add(id);
    }
    updated.textContent = `Updated at ${new Date().toLocaleTimeString()}.`;
    show();
  };
  events.onerror = () => {
    const time = new Date().toLocaleTimeString();
    if (events.readyState === EventSource.CLOSED) {
      tell(`The run's server refuses this page since ${time}: reload it.`);
    } else if (notice.hidden) {
      tell(`No connection to the run since ${time}: what is shown is of then. Trying again.`);
    }
  };
  events.addEventListener('end', () => {
    events.close();
    pause.hidden = true;
    paused = false;
    show();
    tell('The run has ended. This page stays as it is.');
  });
  // A browser that leaves the page for a while would otherwise keep the connection.
  window.addEventListener('pagehide', () => events.close());
  window.addEventListener('pageshow', (event) => {
    if (event.persisted) {
      location.reload();
    }
  });
}

function show() {
  if (paused) {
    return;
  }
  for (const id of waiting) {
    put(id);
  }
  waiting.clear();
}

pause.hidden = false;
pause.addEventListener('click', () => {
  paused = !paused;
  pause.setAttribute('aria-pressed', String(paused));
  pause.textContent = paused ? 'Continue' : 'Pause';
  show();
});
listen();
