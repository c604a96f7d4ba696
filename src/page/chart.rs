//! Line charts as SVG, to stand inside of a page with [`super::STYLE`].
//!
//! A chart is text: axes with round ticks, a line or dots for each series, a legend. It is drawn in units of a fixed
//! frame and scales with the page.

mod axis;

use std::fmt::Write;

use self::axis::Axis;
pub(crate) use self::axis::Scale;
use super::html::escape;

/// The frame's size for a chart as wide as a page, and for one among others or on a phone: text is as large as its page
/// is wide.
const WIDE: (f64, f64) = (640.0, 300.0);
const NARROW: (f64, f64) = (360.0, 240.0);
/// The margins that the labels take.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 44.0;
/// The mean width of a legend's character, and of the mark before it.
const CHARACTER: f64 = 6.6;
const MARK: f64 = 20.0;
/// More dots than these run into one another, and are left out.
const MOST_DOTS: usize = 60;
/// The colours of the style, which begin anew after the last.
const NUM_COLOURS: usize = 6;

/// A chart of some series over one x axis.
#[derive(Clone, Debug)]
pub(crate) struct Chart<'a> {
    /// What is seen, above the chart.
    pub title: &'a str,
    /// What the x axis counts, with its unit.
    pub x: &'a str,
    /// How the y axis is divided.
    pub scale: Scale,
    /// In the order of the legend.
    pub series: Vec<Series<'a>>,
}

/// A named row of points.
#[derive(Clone, Debug)]
pub(crate) struct Series<'a> {
    pub name: &'a str,
    pub mark: Mark,
    /// (x, y) by rising x. What is not finite is a gap, as is what is not above 0 on a logarithmic scale.
    pub points: &'a [(f64, f64)],
}

/// How the points of a series are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// A line through all points.
    Line,
    /// A line through all points, and a dot at each.
    Dots,
    /// A pale line below all others, such as the values behind a mean.
    Faint,
}

impl Series<'_> {
    fn stroke(&self, index: usize) -> String {
        match self.mark {
            Mark::Faint => "class=\"line faint\"".into(),
            Mark::Line | Mark::Dots => format!("class=\"line\" style=\"stroke:var(--series-{})\"", index % NUM_COLOURS),
        }
    }
}

impl Chart<'_> {
    /// The `svg` element, as wide as a page.
    pub(crate) fn svg(&self) -> String {
        self.drawn(WIDE)
    }

    /// The `svg` element, to stand beside others or on a phone.
    pub(crate) fn narrow_svg(&self) -> String {
        self.drawn(NARROW)
    }

    fn drawn(&self, size: (f64, f64)) -> String {
        let points = || self.series.iter().flat_map(|series| series.points).filter(|point| self.draws(**point));
        let x = Axis::new(Scale::Fitted, points().map(|point| point.0), LEFT, size.0 - RIGHT);
        let y = Axis::new(self.scale, points().map(|point| point.1), size.1 - BOTTOM, TOP);
        let mut svg = String::new();
        let (width, height) = size;
        let _ = write!(
            svg,
            "<svg class=\"chart\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">",
            escape(&self.summary())
        );
        let _ = write!(svg, "<text class=\"title\" x=\"0\" y=\"16\">{}</text>", escape(self.title));
        self.legend(&mut svg);
        self.grid(&mut svg, size, &x, &y);
        if points().next().is_none() {
            let (x, y) = ((LEFT + width - RIGHT) / 2.0, (TOP + height - BOTTOM) / 2.0);
            let _ = write!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">nothing yet</text>");
        }
        let is_faint = |series: &Series<'_>| series.mark == Mark::Faint;
        for faint in [true, false] {
            for (index, series) in self.series.iter().enumerate().filter(|(_, series)| is_faint(series) == faint) {
                self.draw(&mut svg, series, index, &x, &y);
            }
        }
        svg.push_str("</svg>");
        svg
    }

    fn draws(&self, (x, y): (f64, f64)) -> bool {
        x.is_finite() && y.is_finite() && (self.scale != Scale::Logarithmic || y > 0.0)
    }

    /// The chart for those who do not see it: each series' last value.
    fn summary(&self) -> String {
        let mut summary = format!("{} over {}", self.title, self.x);
        for series in &self.series {
            if let Some((x, y)) = series.points.iter().rev().find(|point| self.draws(**point)) {
                let _ = write!(summary, "; {}: {} at {}", series.name, axis::number(*y), axis::number(*x));
            }
        }
        summary
    }

    fn legend(&self, svg: &mut String) {
        let mut left = 0.0;
        for (index, series) in self.series.iter().enumerate() {
            let stroke = series.stroke(index);
            let _ = write!(
                svg,
                "<line {stroke} x1=\"{left}\" x2=\"{:.1}\" y1=\"32\" y2=\"32\"/><text x=\"{:.1}\" y=\"36\">{}</text>",
                left + MARK - 6.0,
                left + MARK,
                escape(series.name)
            );
            left += MARK + CHARACTER * series.name.chars().count() as f64 + 14.0;
        }
    }

    fn grid(&self, svg: &mut String, size: (f64, f64), x: &Axis, y: &Axis) {
        let (right, bottom) = (size.0 - RIGHT, size.1 - BOTTOM);
        for tick in y.ticks() {
            let at = y.place(tick);
            let _ = write!(
                svg,
                "<line class=\"rule\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                axis::number(tick)
            );
        }
        // There is nothing between two steps or two epochs.
        for tick in x.ticks().into_iter().filter(|tick| (tick - tick.round()).abs() < 1e-9) {
            let at = x.place(tick);
            let _ = write!(
                svg,
                "<line class=\"rule\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{bottom}\" y2=\"{}\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 4.0,
                bottom + 17.0,
                axis::number(tick)
            );
        }
        let (middle, label) = ((LEFT + right) / 2.0, escape(self.x));
        let _ = write!(svg, "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", size.1 - 8.0);
    }

    fn draw(&self, svg: &mut String, series: &Series<'_>, index: usize, x: &Axis, y: &Axis) {
        let colour = index % NUM_COLOURS;
        for run in series.points.split(|point| !self.draws(*point)).filter(|run| !run.is_empty()) {
            let places = run.iter().map(|point| (x.place(point.0), y.place(point.1)));
            if run.len() > 1 {
                let path = places.clone().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
                let _ = write!(svg, "<polyline {} points=\"{path}\"/>", series.stroke(index));
            }
            if run.len() == 1 || (series.mark == Mark::Dots && run.len() <= MOST_DOTS) {
                for (x, y) in places {
                    let _ = write!(
                        svg,
                        "<circle class=\"dot\" style=\"fill:var(--series-{colour})\" cx=\"{x:.1}\" cy=\"{y:.1}\" \
                         r=\"3.5\"/>"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart<'a>(scale: Scale, points: &'a [(f64, f64)]) -> Chart<'a> {
        let series = vec![Series { name: "train & <val>", mark: Mark::Line, points }];
        Chart { title: "Loss", x: "step", scale, series }
    }

    fn path(svg: &str) -> Vec<(f64, f64)> {
        let path = svg.split("points=\"").nth(1).expect("a line").split('"').next().unwrap();
        let place = |pair: &str| pair.split_once(',').map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap())).unwrap();
        path.split(' ').map(place).collect()
    }

    #[test]
    fn points_lie_where_the_axes_say() {
        let svg = chart(Scale::FromZero, &[(0.0, 0.0), (50.0, 5.0), (100.0, 10.0)]).svg();
        let (right, bottom) = (WIDE.0 - RIGHT, WIDE.1 - BOTTOM);
        assert_eq!(path(&svg), [(LEFT, bottom), ((LEFT + right) / 2.0, (TOP + bottom) / 2.0), (right, TOP)]);
        for tick in [">0<", ">10<", ">100<"] {
            assert!(svg.contains(tick), "{tick} in {svg}");
        }
        assert!(svg.contains("train &amp; &lt;val&gt;: 10 at 100"), "{svg}");
    }

    #[test]
    fn the_x_axis_counts() {
        let svg = chart(Scale::FromZero, &[(1.0, 30.0), (3.0, 50.0)]).narrow_svg();
        assert!(svg.contains(">2<") && !svg.contains(">1.5<"), "{svg}");
    }

    #[test]
    fn a_faint_line_is_below_the_others_and_keeps_its_place_in_the_legend() {
        let points = [(0.0, 1.0), (1.0, 2.0)];
        let series = [("mean", Mark::Line), ("each step", Mark::Faint)]
            .map(|(name, mark)| Series { name, mark, points: &points })
            .to_vec();
        let svg = Chart { title: "Loss", x: "step", scale: Scale::Fitted, series }.narrow_svg();
        let (legend, lines) = svg.split_once("each step</text>").unwrap();
        assert!(legend.contains("mean</text>"), "{svg}");
        assert!(lines.find("line faint").unwrap() < lines.find("--series-0").unwrap(), "{svg}");
    }

    #[test]
    fn what_is_not_finite_is_a_gap() {
        let svg = chart(Scale::Fitted, &[(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 3.0)]).svg();
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (1, 1), "{svg}");
        assert!(!svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn a_chart_of_nothing_says_so() {
        for scale in [Scale::Fitted, Scale::FromZero, Scale::Logarithmic] {
            let svg = chart(scale, &[]).svg();
            assert!(svg.contains("nothing yet") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn what_is_not_positive_has_no_place_on_a_logarithmic_axis() {
        let svg = chart(Scale::Logarithmic, &[(0.0, 0.0), (1.0, 0.01), (2.0, 1.0), (3.0, 0.1)]).svg();
        let path = path(&svg);
        let middle = (path[0].1 + path[1].1) / 2.0;
        assert!(path.len() == 3 && (path[2].1 - middle).abs() < 0.2, "{path:?}");
    }
}
