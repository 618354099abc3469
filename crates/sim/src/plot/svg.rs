//! Draws panels of lines as SVG, with axes, legends and marked phases. Every coordinate is written with two digits, so that the
//! same run gives the same bytes.

use std::fmt::Write;

use super::axis::{Axis, label};

/// A value over time.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) color: &'static str,
    /// Seconds, and a value where there is one.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// Lines that share an axis.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) log: bool,
    pub(super) lines: Vec<Line>,
}

/// Panels that share time.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    /// Where phases begin, and their names.
    pub(super) marks: Vec<(f64, String)>,
    /// How far time goes, in seconds.
    pub(super) until: f64,
    pub(super) panels: Vec<Panel>,
}

const WIDTH: f64 = 900.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 20.0;
/// Room for the title and the names of phases; the names alone need less.
const TOP: f64 = 88.0;
const TOP_UNTITLED: f64 = 56.0;
const PANEL: f64 = 150.0;
/// Between panels: the title and the legend of the next.
const GAP: f64 = 44.0;
const BOTTOM: f64 = 44.0;
/// The width of a letter of the small font, about.
const LETTER: f64 = 6.3;

const STYLE: &str = "text{font-family:ui-sans-serif,system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;\
                     fill:#374151;font-size:11px}.h{font-size:15px;font-weight:600;fill:#111827}\
                     .t{font-size:12px;font-weight:600;fill:#1f2937}.m{fill:#6b7280}\
                     polyline{fill:none;stroke-width:1.6;stroke-linejoin:round}";

impl Chart<'_> {
    /// The whole document.
    pub(super) fn draw(&self) -> String {
        let head = if self.title.is_empty() { TOP_UNTITLED } else { TOP };
        let height = head + self.panels.len() as f64 * (PANEL + GAP) - GAP + BOTTOM;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\">\n<style>{STYLE}</style>\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
        );
        text(&mut out, (LEFT, 26.0), "class=\"h\"", self.title);
        let time = Axis::exact(self.until, 10.0);
        for (index, panel) in self.panels.iter().enumerate() {
            let top = head + index as f64 * (PANEL + GAP);
            self.panel(panel, &time, top, index == 0, &mut out);
        }
        let bottom = head + self.panels.len() as f64 * (PANEL + GAP) - GAP;
        for tick in &time.ticks {
            text(&mut out, (x(&time, *tick), bottom + 16.0), "text-anchor=\"middle\"", &label(*tick));
        }
        text(
            &mut out,
            (f64::midpoint(LEFT, WIDTH - RIGHT), bottom + 34.0),
            "text-anchor=\"middle\" class=\"m\"",
            "seconds",
        );
        out.push_str("</svg>\n");
        out
    }

    fn panel(&self, panel: &Panel, time: &Axis, top: f64, first: bool, out: &mut String) {
        let values = || panel.lines.iter().flat_map(|line| &line.points).filter_map(|(_, value)| *value);
        let most = values().fold(0.0, f64::max);
        let axis = if panel.log {
            let least = values().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
            Axis::log(least, most)
        } else {
            Axis::straight(most)
        };
        let (right, bottom) = (WIDTH - RIGHT, top + PANEL);
        self.phases(time, (top, bottom), first, out);
        text(out, (LEFT, top - 10.0), "class=\"t\"", panel.title);
        legend(&panel.lines, (LEFT + panel.title.chars().count() as f64 * 7.0 + 24.0, top - 10.0), out);
        let y = |value: f64| bottom - axis.share(value) * PANEL;
        for tick in &axis.ticks {
            let at = y(*tick);
            let _ = writeln!(out, "<path d=\"M{LEFT:.2} {at:.2}H{right:.2}\" stroke=\"#e5e7eb\"/>");
            text(out, (LEFT - 8.0, at + 4.0), "text-anchor=\"end\"", &label(*tick));
        }
        for tick in &time.ticks {
            let at = x(time, *tick);
            let _ = writeln!(out, "<path d=\"M{at:.2} {bottom:.2}v4\" stroke=\"#9ca3af\"/>");
        }
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT:.2} {top:.2}V{bottom:.2}H{right:.2}\" fill=\"none\" stroke=\"#9ca3af\"/>"
        );
        for line in &panel.lines {
            draw_line(line, time, y, out);
        }
    }

    /// Every second phase has a shade, each begins with a dashed line, and the first panel names them.
    fn phases(&self, time: &Axis, (top, bottom): (f64, f64), named: bool, out: &mut String) {
        for (index, (at, name)) in self.marks.iter().enumerate() {
            let until = self.marks.get(index + 1).map_or(self.until, |next| next.0);
            let (from, to) = (x(time, *at), x(time, until));
            let _ = writeln!(
                out,
                "<rect x=\"{from:.2}\" y=\"{top:.2}\" width=\"{:.2}\" height=\"{:.2}\" fill=\"{}\"/>",
                to - from,
                bottom - top,
                if index % 2 == 1 { "#f3f4f6" } else { "#ffffff" }
            );
            if index > 0 {
                let _ = writeln!(
                    out,
                    "<path d=\"M{from:.2} {top:.2}V{bottom:.2}\" stroke=\"#9ca3af\" stroke-dasharray=\"3 3\"/>"
                );
            }
            // A name that does not fit is cut, so that it does not run into the next.
            let fits = (((to - from) / LETTER) as usize).saturating_sub(1);
            if named && fits >= 3 {
                let shown: String = if name.chars().count() <= fits {
                    name.clone()
                } else {
                    name.chars().take(fits - 1).chain(['\u{2026}']).collect()
                };
                text(out, (from + 3.0, top - 28.0), "class=\"m\"", &shown);
            }
        }
    }
}

fn x(time: &Axis, at: f64) -> f64 {
    LEFT + time.share(at) * (WIDTH - RIGHT - LEFT)
}

fn legend(lines: &[Line], (mut left, y): (f64, f64), out: &mut String) {
    for line in lines {
        let _ = writeln!(
            out,
            "<rect x=\"{left:.2}\" y=\"{:.2}\" width=\"14\" height=\"4\" rx=\"2\" fill=\"{}\"/>",
            y - 6.0,
            line.color
        );
        text(out, (left + 19.0, y), "", &line.name);
        left += 19.0 + line.name.chars().count() as f64 * LETTER + 14.0;
    }
}

/// A line, broken where there is no value. A value between two gaps is a dot.
fn draw_line(line: &Line, time: &Axis, y: impl Fn(f64) -> f64, out: &mut String) {
    for piece in line.points.split(|(_, value)| value.is_none()) {
        let mut at = piece.iter().map(|(at, value)| (x(time, *at), y(value.unwrap_or(0.0))));
        match piece.len() {
            0 => {}
            1 => {
                if let Some((x, y)) = at.next() {
                    let _ = writeln!(
                        out,
                        "<circle cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"1.6\" fill=\"{}\"/>",
                        line.color
                    );
                }
            }
            _ => {
                let _ = write!(out, "<polyline stroke=\"{}\" points=\"", line.color);
                for (index, (x, y)) in at.enumerate() {
                    let _ = write!(out, "{}{x:.2},{y:.2}", if index > 0 { " " } else { "" });
                }
                out.push_str("\"/>\n");
            }
        }
    }
}

fn text(out: &mut String, (x, y): (f64, f64), attributes: &str, content: &str) {
    let space = if attributes.is_empty() { "" } else { " " };
    let _ = write!(out, "<text x=\"{x:.2}\" y=\"{y:.2}\"{space}{attributes}>");
    for c in content.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push_str("</text>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_gaps_break_lines() {
        let line = Line {
            name: "a<b & \"c\"".to_owned(),
            color: "#000000",
            points: vec![(0.0, Some(1.0)), (1.0, Some(2.0)), (2.0, None), (3.0, Some(1.0)), (4.0, None)],
        };
        let panel = Panel { title: "p", log: false, lines: vec![line] };
        let svg = Chart { title: "t", marks: vec![], until: 4.0, panels: vec![panel] }.draw();
        assert!(svg.contains("a&lt;b &amp; &quot;c&quot;"), "{svg}");
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (1, 1));
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }
}
