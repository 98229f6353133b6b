//! Latency as bars: a one-line graph for headers and a chart for a replica's history.
//!
//! A failure is a cross, a sync without a measurement is a gap; neither is drawn as zero.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Piece, piece};
use crate::dashboard::model::rows::{Latency, Sample};
use crate::dashboard::text;
use crate::dashboard::theme::{Glyphs, Role};

/// Draws one character for each sample, scaled to the largest.
#[must_use]
pub(crate) fn spark(glyphs: &Glyphs, samples: &[Sample]) -> Vec<Piece> {
    let most = most(samples);
    samples
        .iter()
        .map(|sample| match sample {
            // The shortest time still has the lowest bar, because an empty column means that nothing was measured.
            Sample::Took(time) => piece(glyphs.levels[level(*time, most, 8).max(1) - 1], Role::Accent),
            Sample::Failed => piece(glyphs.lost, Role::Bad),
            Sample::Gap => piece(" ", Role::Plain),
        })
        .collect()
}

/// Returns the height of a value in eighths of `steps`, at least 1.
fn level(value: u64, most: u64, steps: u64) -> usize {
    // In 128 bits, because a replica may send any number.
    let scaled = u128::from(value) * u128::from(steps) / u128::from(most.max(1));
    usize::try_from(scaled).unwrap_or(0).clamp(1, usize::try_from(steps).unwrap_or(8))
}

fn most(samples: &[Sample]) -> u64 {
    samples.iter().map(|sample| if let Sample::Took(time) = sample { *time } else { 0 }).max().unwrap_or(0).max(1)
}

/// Draws a chart with an axis: bars over the whole height except the last line, which is the time axis.
pub(crate) fn chart(canvas: &mut Canvas<'_>, area: Rect, latency: &Latency, oldest: &str) {
    const LABEL: u16 = 6;
    if area.height < 3 || area.width < LABEL + 10 {
        return;
    }
    let glyphs = canvas.glyphs();
    let rows = area.height - 1;
    let most = most(&latency.samples);
    let width = usize::from(area.width - LABEL - 4);
    let skipped = latency.samples.len().saturating_sub(width);
    let samples = &latency.samples[skipped..];
    // Two columns for each bar if there is room, because they are easier to distinguish.
    let step: u16 = if samples.len() * 2 <= width { 2 } else { 1 };
    for row in 0..rows {
        let y = area.y + row;
        let label = if row == 0 { text::took(most) } else { String::new() };
        canvas.right(area.x + LABEL, y, &[piece(label, Role::Dim)]);
        canvas.put(area.x + LABEL + 1, y, 1, if row == 0 { glyphs.tick } else { glyphs.axis }, Role::Dim);
    }
    let bottom = area.y + rows;
    canvas.put(area.x + LABEL + 1, bottom, 1, glyphs.origin, Role::Dim);
    let mut x = area.x + LABEL + 3;
    for sample in samples {
        match sample {
            Sample::Took(time) => {
                let eighths = level(*time, most, u64::from(rows) * 8);
                for row in 0..rows {
                    let reached = eighths.saturating_sub(usize::from(row) * 8).min(8);
                    if reached > 0 {
                        canvas.put(x, bottom - 1 - row, 1, glyphs.levels[reached - 1], Role::Accent);
                    }
                }
            }
            Sample::Failed => {
                canvas.put(x, bottom - 1, 1, glyphs.lost, Role::Bad);
            }
            Sample::Gap => {}
        }
        x += step;
    }
    let first = area.x + LABEL + 3;
    canvas.put(first, bottom, 20, oldest, Role::Dim);
    let legend = format!("now       gap = not measured   {} = failed", glyphs.lost);
    let after = x.max(first + u16::try_from(text::width(oldest)).unwrap_or(20) + 6);
    let legend_width = u16::try_from(text::width(&legend)).unwrap_or(0);
    if after.saturating_sub(4) + legend_width <= area.right() {
        canvas.put(after.saturating_sub(4), bottom, legend_width, &legend, Role::Dim);
    } else {
        canvas.right(area.right().saturating_sub(1), bottom, &[piece("now", Role::Dim)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::theme::Theme;

    #[test]
    fn the_largest_is_full_the_smallest_is_visible_and_gaps_are_not_zero() {
        let theme = Theme::new(true, false);
        let samples = [Sample::Took(0), Sample::Took(u64::MAX), Sample::Failed, Sample::Gap];
        let text: String = spark(theme.glyphs, &samples).into_iter().map(|(text, _)| text).collect();
        assert_eq!(text, "▁█× ");
    }
}
