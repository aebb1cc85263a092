//! The two kinds of chart on the page: horizontal bars, and spans on a logarithmic axis. A row is a peer, and its
//! figures stand in it as text, so that no reader has to measure a bar.

use super::svg::{Anchor, Drawing};
use crate::figures::float;
use crate::peers;

/// Half of the page's width, and all of it.
pub(super) const HALF: f64 = 548.0;
pub(super) const WHOLE: f64 = 1120.0;

const ROW: f64 = 24.0;
const BAR: f64 = 14.0;
/// Where bars begin, at least; longer names push them to the right.
const LEFT: f64 = 106.0;
/// Between a peer's name and its bar.
const GAP: f64 = 10.0;
/// Room for a letter of a name, in bold.
const LETTER: f64 = 8.0;
/// What is kept for the text behind the longest bar.
const TEXT: f64 = 212.0;
const AXIS: f64 = 26.0;

/// A peer's bar.
pub(super) struct Bar {
    pub(super) peer: String,
    /// One behind the other: class, length in units of the axis, and what it says when it is pointed at.
    pub(super) parts: Vec<(&'static str, f64, String)>,
    /// From the least to the most of the rounds.
    pub(super) range: Option<(f64, f64)>,
    pub(super) text: String,
}

/// A peer's span.
pub(super) struct Span {
    pub(super) peer: String,
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) text: String,
}

/// Horizontal bars from 0. `axis` names a value on the axis.
pub(super) fn bars(title: &str, rows: &[Bar], axis: impl Fn(f64) -> String) -> Drawing {
    let longest = rows.iter().map(|row| row.parts.iter().map(|(_, length, _)| length.max(0.0)).sum());
    let most = longest.chain(rows.iter().filter_map(|row| row.range.map(|(_, most)| most)));
    let most = most.fold(f64::MIN_POSITIVE, f64::max);
    let (mut drawing, left, bottom) = frame(HALF, title, rows.iter().map(|row| row.peer.as_str()));
    let scale = (HALF - left - TEXT) / most;
    for tick in ticks(most) {
        let x = left + tick * scale;
        drawing.line("grid", (x, 0.0), (x, bottom));
        let name = if tick == 0.0 { "0".to_owned() } else { axis(tick) };
        drawing.text("axis", (x, bottom + 16.0), Anchor::Middle, name);
    }
    for (row, middle) in rows.iter().zip(middles()) {
        let mut x = left;
        for (class, length, hint) in &row.parts {
            let width = length.max(0.0) * scale;
            drawing.bar(class, (x, middle - BAR / 2.0), (width, BAR), hint);
            x += width;
        }
        if let Some((least, most)) = row.range {
            let ends = [least, most].map(|value| left + value.max(0.0) * scale);
            drawing.line("range", (ends[0], middle), (ends[1], middle));
            for end in ends {
                drawing.line("range", (end, middle - 3.0), (end, middle + 3.0));
            }
            x = x.max(ends[1]);
        }
        drawing.text("value", (x + 7.0, middle + 4.0), Anchor::Start, &row.text);
    }
    drawing.line("base", (left, 0.0), (left, bottom));
    drawing
}

/// From a full dot to an open one, on an axis of powers of ten.
pub(super) fn spans(title: &str, rows: &[Span], axis: impl Fn(f64) -> String) -> Drawing {
    let right = WHOLE - TEXT - 30.0;
    let values = || rows.iter().flat_map(|row| [row.from, row.to]).filter(|value| *value > 0.0);
    let first = values().fold(f64::INFINITY, f64::min).log10().floor();
    let last = values().fold(0.0, f64::max).log10().ceil().max(first + 1.0);
    let (mut drawing, left, bottom) = frame(WHOLE, title, rows.iter().map(|row| row.peer.as_str()));
    let place = |value: f64| left + (value.log10() - first) / (last - first) * (right - left);
    let mut power = first;
    while power <= last {
        let x = place(10_f64.powf(power));
        drawing.line("grid", (x, 0.0), (x, bottom));
        drawing.text("axis", (x, bottom + 16.0), Anchor::Middle, axis(10_f64.powf(power)));
        power += 1.0;
    }
    for (row, middle) in rows.iter().zip(middles()) {
        if row.from > 0.0 {
            let (from, to) = (place(row.from), place(row.to.max(row.from)));
            drawing.line("span", (from, middle), (to, middle));
            drawing.dot("to", (to, middle), 5.0);
            drawing.dot("from", (from, middle), 5.0);
        }
        drawing.text("value", (right + 22.0, middle + 4.0), Anchor::Start, &row.text);
    }
    drawing
}

/// A drawing with the peers' names, ours on a ground of their own; where the rows begin, and where they end.
fn frame<'a>(width: f64, title: &str, peers: impl Iterator<Item = &'a str>) -> (Drawing, f64, f64) {
    let peers: Vec<&str> = peers.collect();
    let letters = peers.iter().map(|peer| peer.chars().count()).max().unwrap_or(0);
    let left = LEFT.max(float(u64::try_from(letters).unwrap_or(0)) * LETTER + GAP);
    let bottom = middles().take(peers.len()).last().map_or(ROW, |middle| middle + ROW / 2.0);
    let mut drawing = Drawing::new(width, bottom + AXIS, title);
    for (peer, middle) in peers.into_iter().zip(middles()) {
        let is_ours = peers::OURS.contains(&peer);
        if is_ours {
            drawing.bar("ours", (0.0, middle - ROW / 2.0), (width, ROW), "");
        }
        let class = if is_ours { "peer our" } else { "peer" };
        drawing.text(class, (left - GAP, middle + 4.0), Anchor::End, peer);
    }
    (drawing, left, bottom)
}

fn middles() -> impl Iterator<Item = f64> {
    std::iter::successors(Some(ROW / 2.0 + 2.0), |middle| Some(middle + ROW))
}

/// Three to six round numbers from 0 to at most `most`.
fn ticks(most: f64) -> impl Iterator<Item = f64> {
    let power = 10_f64.powf((most / 4.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| step * 4.5 >= most);
    let step = step.unwrap_or(most);
    std::iter::successors(Some(0.0), move |tick| Some(tick + step)).take_while(move |tick| *tick <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_few_and_round() {
        for (most, expected) in
            [(100.0, vec![0.0, 50.0, 100.0]), (3_700.0, vec![0.0, 1_000.0, 2_000.0, 3_000.0])]
        {
            assert_eq!(ticks(most).collect::<Vec<_>>(), expected);
        }
    }
}
