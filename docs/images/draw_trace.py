#!/usr/bin/env python3
"""Draws a stretch of a trace as an SVG: docs/images/draw_trace.py TRACE.json FIRST_STEP NUM_STEPS > trace.svg"""

import json
import sys

WIDTH, LEFT, ROW, TOP = 960, 150, 34, 28
COLOURS = {
    "step": "#4e79a7", "upload": "#f28e2b", "fill": "#59a14f", "launch": "#76b7b2", "input wait": "#e15759",
    "statistics wait": "#bab0ac", "buffer wait": "#d7d3cf", "reclaim": "#edc948", "validation": "#b07aa1",
    "checkpoint": "#9c755f"}


def main(path, first, count):
    events = json.load(open(path))
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    lines = sorted(names)
    steps = {event["args"]["step"]: event for event in events if event["name"] == "step"}
    begin, last = steps[first]["ts"], steps[first + count - 1]
    end = last["ts"] + last["dur"]
    begin, end = begin - 0.03 * (end - begin), end + 0.03 * (end - begin)
    height = TOP + ROW * len(lines) + 24

    def x(micros):
        return LEFT + (min(max(micros, begin), end) - begin) / (end - begin) * (WIDTH - LEFT - 10)

    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
          'font-family="sans-serif" font-size="12">')
    print(f'<rect width="{WIDTH}" height="{height}" fill="white"/>')
    for row, line in enumerate(lines):
        y = TOP + row * ROW
        print(f'<text x="{LEFT - 8}" y="{y + 18}" text-anchor="end">{names[line]}</text>')
        print(f'<line x1="{LEFT}" y1="{y + ROW - 4}" x2="{WIDTH - 10}" y2="{y + ROW - 4}" stroke="#eee"/>')
        for event in (event for event in events if event["ph"] == "X" and event["tid"] == line):
            left, right = x(event["ts"]), x(event["ts"] + event["dur"])
            if right - left < 0.05:
                continue
            label = f'{event["name"]} {event["args"]["step"]}'
            fill = COLOURS[event["name"]]
            print(f'<rect x="{left:.1f}" y="{y}" width="{right - left:.1f}" height="{ROW - 8}" fill="{fill}" '
                  f'stroke="white" stroke-width="0.4"><title>{label}</title></rect>')
            if right - left > 6 * len(label):
                middle = (left + right) / 2
                print(f'<text x="{middle:.1f}" y="{y + 17}" text-anchor="middle" fill="white">{label}</text>')
    milliseconds = (end - begin) / 1e3
    print(f'<text x="{LEFT}" y="16" fill="#555">{milliseconds:.0f} ms, steps {first} to {first + count - 1}</text>')
    print("</svg>")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
