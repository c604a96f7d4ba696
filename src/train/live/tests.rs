use super::page::{self, Fragments};
use super::*;

fn live(last_step: u64) -> Live {
    Live::new(About {
        run: "<script>'a'</script>".into(),
        recipe: "small".into(),
        device: "cpu \"<i>\"".into(),
        precision: "f32".into(),
        classes: vec!["cat".into()],
        frame: Frame { crop: 16, canvas: 16, scale: 1.0 },
        batch_size: 4,
        num_buffers: 6,
        first_step: 0,
        last_step,
        steps_per_epoch: 10,
    })
}

fn step(live: &Live, step: u64, pace: Pace) {
    // Neither a line nor a repetition that would be drawn in fewer characters.
    let loss = 1.0 + (step * 7919 % 1009) as f64 / 1009.0;
    let observation = StepObservation { loss, learning_rate: 0.01, ..StepObservation::default() };
    let statistics = Statistics { loss_sum: 4.0 * loss, num_top1: step % 4, num_top5: 3, num_samples: 4 };
    live.step(
        step,
        &observation,
        &statistics,
        &PipelineSnapshot { ready_batches: step % 5, ..Default::default() },
        pace,
    );
}

fn pace(bottleneck: &'static str) -> Pace {
    let images_per_second = 123.4;
    Pace { images_per_second, input_wait_share: 0.25, upload_share: 0.5, compute_share: 0.75, bottleneck }
}

fn line(kind: Kind, step: u64, epoch: u32, loss: f64) -> Line {
    let (top1_error, top5_error) = (Some(loss / 10.0), Some(loss / 20.0));
    Line { loss: Some(loss), top1_error, top5_error, images_per_second: Some(50.0), ..Line::new(kind, step, epoch) }
}

fn num_bytes(fragments: &Fragments) -> usize {
    fragments.values().map(String::len).sum()
}

#[test]
fn the_page_of_a_long_run_is_bounded() {
    let live = live(1_000_000);
    for number in 1..=200_000 {
        step(&live, number, pace("compute"));
        if number % 10 == 0 {
            live.line(&line(Kind::Epoch, number, (number / 10) as u32, 2.0));
            live.line(&line(Kind::Validation, number, (number / 10) as u32, 3.0));
            live.event(number, &"something that people should know ".repeat(100));
        }
    }
    let fragments = live.fragments();
    // What docs/monitoring.md says of an update.
    assert!(num_bytes(&fragments) < 128 << 10, "{} bytes", num_bytes(&fragments));
    assert_eq!(fragments["epochs"].matches("scope=\"row\"").count(), MAX_EPOCHS);
    assert_eq!(fragments["events"].matches("<li>").count(), MAX_EVENTS);
    assert!(fragments["events"].contains("step 200,000") && fragments["epochs"].contains(">20000<"));
}

#[test]
fn no_name_becomes_html() {
    let live = live(10);
    live.event(1, "<b>&");
    let page = page::html(&live.fragments());
    assert!(page.contains("&lt;script&gt;&#39;a&#39;") && page.contains("cpu &quot;&lt;i&gt;&quot;"), "{page}");
    assert!(page.contains("&lt;b&gt;&amp;") && !page.contains("<script>") && !page.contains("{{"), "{page}");
}

#[test]
fn the_stage_that_bounds_the_run_is_marked_and_named() {
    for (bottleneck, share) in [("input", "25%"), ("upload", "50%"), ("compute", "75%")] {
        let live = live(10);
        step(&live, 1, pace(bottleneck));
        let stages = &live.fragments()["stages"];
        assert!(stages.contains(&format!("<b>{bottleneck}</b>")), "{stages}");
        let marked = stages.split("<li class=\"bottleneck\">").nth(1).unwrap().split("</li>").next().unwrap();
        assert!(marked.contains(bottleneck) && marked.contains(share), "{marked}");
    }
}

#[test]
fn a_resumed_run_begins_with_what_was_logged() {
    let live = live(100);
    let mut lines: Vec<Line> = (1..=5).map(|number| line(Kind::Step, 4 * number, 0, number as f64)).collect();
    lines.push(line(Kind::Epoch, 20, 1, 3.0));
    lines.push(line(Kind::Validation, 20, 1, 2.0));
    lines.push(Line { event: Some("resumed from /home/me/run".into()), ..Line::new(Kind::Event, 20, 1) });
    live.past(&lines);
    let fragments = live.fragments();
    assert_eq!(live.state().train.loss.points(), [(4.0, 1.0), (8.0, 2.0), (12.0, 3.0), (16.0, 4.0), (20.0, 5.0)]);
    assert!(fragments["numbers"].contains("<dd>3.000</dd>") && fragments["numbers"].contains("best 20.0%"));
    assert!(fragments["epochs"].contains("20.0% <span class=\"good\">best</span>"), "{}", fragments["epochs"]);
    assert!(fragments.values().all(|html| !html.contains("/home")), "{fragments:?}");
}

#[test]
fn a_batch_and_the_kernels_are_shown_once_somebody_looks() {
    let live = live(10);
    let mut batch = crate::input::Batch::zeros(crate::input::Dtype::F32, 4, 3 * 16 * 16);
    batch.num_valid = 4;
    live.batch().offer(&batch);
    live.refresh();
    assert!(live.picture("/batch.png", None).is_none() && !live.fragments()["batch"].contains("<img"));
    batch.step = 7;
    live.batch().offer(&batch);
    live.refresh();
    let fragment = &live.fragments()["batch"];
    assert!(fragment.contains("of step 8,") && fragment.contains(">cat</span>"), "{fragment}");
    let version = fragment.split("batch.png?").nth(1).unwrap().split('"').next().unwrap();
    assert!(live.picture("/batch.png", Some(version)).is_some_and(|png| png.starts_with(b"\x89PNG")));
    assert!(live.picture("/batch.png", Some("another")).is_none() && live.picture("/kernels.png", None).is_none());
}

#[test]
fn of_equal_validations_the_first_is_the_best() {
    let live = live(100);
    for (epoch, loss) in [(0, 3.0), (1, 2.0), (2, 2.0), (3, 2.5)] {
        live.line(&line(Kind::Validation, 10 * (u64::from(epoch) + 1), epoch, loss));
    }
    let epochs = &live.fragments()["epochs"];
    let best: Vec<&str> = epochs.split("<tr>").filter(|row| row.contains(">best<")).collect();
    assert!(best.len() == 1 && best[0].contains("scope=\"row\">1</th>"), "{epochs}");
}
