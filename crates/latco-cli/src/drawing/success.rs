//! The chart of an evaluation: success of planners, task by task, with its 95 % interval.

use latco_env::Image;
use plotters::{
    element::{Circle, PathElement, Text},
    style::{
        Color, RGBColor,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::{
    figure::picture,
    panel::{Area, BLUE, Failure, GRID, INK, ORANGE, SCALE, SOFT_INK, text},
};
use crate::error::CliError;

/// Tasks beside each other, and the size of everything in pixels.
const COLUMNS: usize = 2;
const WIDTH: usize = 1000;
const HEADER: usize = 64;
const FOOTER: usize = 34;
const TITLE: usize = 30;
const LINE: usize = 22;
const AXIS: usize = 34;
const MARGIN: usize = 24;
/// The width of a task's planner names, and of the times behind its axis.
const NAMES: usize = 150;
const TIMES: usize = 72;
/// The middle of a line of text lies so far below that of its small letters.
const BELOW_CENTRE: i32 = 2;

/// How one planner did.
pub struct Outcome {
    /// Its name.
    pub planner: String,
    /// The share of solved episodes.
    pub share: f64,
    /// The 95 % interval of that share.
    pub interval: (f64, f64),
    /// Wall time of a plan.
    pub seconds: f64,
}

/// How planners did on one task.
pub struct TaskOutcomes<'a> {
    /// The task's name.
    pub task: &'a str,
    /// One a planner, from the top.
    pub outcomes: Vec<Outcome>,
}

/// Draws the success of every planner on every task; `others` are tasks without results.
pub fn draw_success(tasks: &[TaskOutcomes], others: &[&str]) -> Result<Image, CliError> {
    let rows = tasks.chunks(COLUMNS).map(row_height);
    let height = HEADER + rows.sum::<usize>() + FOOTER;
    picture((WIDTH, height), |root| {
        draw_header(root)?;
        let mut y = HEADER;
        for row in tasks.chunks(COLUMNS) {
            for (column, task) in row.iter().enumerate() {
                let block = Block {
                    root,
                    corner: (MARGIN + column * (block_width() + MARGIN), y),
                };
                block.draw(task)?;
            }
            y += row_height(row);
        }
        draw_footer(root, y + FOOTER / 2, others)
    })
}

fn block_width() -> usize {
    (WIDTH - MARGIN) / COLUMNS - MARGIN
}

/// The height of tasks beside each other.
fn row_height(row: &[TaskOutcomes]) -> usize {
    let lines = row.iter().map(|task| task.outcomes.len()).max();
    TITLE + lines.unwrap_or(0) * LINE + AXIS
}

fn draw_header(root: &Area) -> Result<(), Failure> {
    write(
        root,
        (MARGIN, 24),
        "Success of planners by task",
        21,
        INK,
        HPos::Left,
    )?;
    let about = "share of episodes with 95 % interval; on the right the seconds of a plan";
    write(root, (MARGIN, 48), about, 15, SOFT_INK, HPos::Left)?;
    let right = WIDTH - MARGIN;
    write(
        root,
        (right, 24),
        "latent collocation",
        15,
        BLUE,
        HPos::Right,
    )?;
    write(root, (right, 48), "shooting", 15, ORANGE, HPos::Right)
}

fn draw_footer(root: &Area, y: usize, others: &[&str]) -> Result<(), Failure> {
    if others.is_empty() {
        return Ok(());
    }
    let line = format!("No results: {}", others.join(", "));
    write(root, (MARGIN, y), &line, 15, SOFT_INK, HPos::Left)
}

/// One task: a line a planner.
struct Block<'a, 'b> {
    root: &'a Area<'b>,
    corner: (usize, usize),
}

impl Block<'_, '_> {
    fn draw(&self, task: &TaskOutcomes) -> Result<(), Failure> {
        let (x, y) = self.corner;
        write(
            self.root,
            (x, y + TITLE / 2),
            task.task,
            18,
            INK,
            HPos::Left,
        )?;
        self.draw_axis(task.outcomes.len())?;
        for (index, outcome) in task.outcomes.iter().enumerate() {
            self.draw_outcome(outcome, self.line(index))?;
        }
        Ok(())
    }

    /// The height of a planner's line.
    fn line(&self, index: usize) -> usize {
        self.corner.1 + TITLE + index * LINE + LINE / 2
    }

    /// Where a share of episodes lies on the axis, in pixels of the enlarged picture.
    fn place(&self, share: f64) -> i32 {
        let length = (block_width() - NAMES - TIMES) as f64;
        let x = (self.corner.0 + NAMES) as f64 + share * length;
        (x * f64::from(SCALE)).round() as i32
    }

    fn draw_axis(&self, lines: usize) -> Result<(), Failure> {
        let top = (self.corner.1 + TITLE) as i32 * SCALE;
        let bottom = top + (lines * LINE) as i32 * SCALE;
        for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
            let x = self.place(share);
            let style = GRID.stroke_width(SCALE as u32);
            let line = PathElement::new(vec![(x, top), (x, bottom)], style);
            self.root.draw(&line)?;
            let style = text(13, SOFT_INK).pos(Pos::new(HPos::Center, VPos::Top));
            let label = share.to_string();
            self.root
                .draw(&Text::new(label, (x, bottom + 4 * SCALE), style))?;
        }
        Ok(())
    }

    fn draw_outcome(&self, outcome: &Outcome, y: usize) -> Result<(), Failure> {
        let name = (self.corner.0 + NAMES - 12, y);
        write(self.root, name, &outcome.planner, 14, INK, HPos::Right)?;
        let colour = colour(&outcome.planner);
        let middle = y as i32 * SCALE;
        let (low, high) = outcome.interval;
        let whisker = vec![(self.place(low), middle), (self.place(high), middle)];
        let style = colour.stroke_width(2 * SCALE as u32);
        self.root.draw(&PathElement::new(whisker, style))?;
        let centre = (self.place(outcome.share), middle);
        self.root
            .draw(&Circle::new(centre, 5 * SCALE, colour.filled()))?;
        let right = (self.corner.0 + block_width(), y);
        let seconds = format!("{:.3} s", outcome.seconds);
        write(self.root, right, &seconds, 14, SOFT_INK, HPos::Right)
    }
}

fn colour(planner: &str) -> RGBColor {
    match planner {
        "random" => SOFT_INK,
        "grasp" => BLUE,
        _ if planner.contains("latco") || planner.contains("collocation") => BLUE,
        _ => ORANGE,
    }
}

/// Writes a line whose small letters are vertically centred.
fn write(
    root: &Area,
    (x, y): (usize, usize),
    line: &str,
    size: i32,
    colour: RGBColor,
    align: HPos,
) -> Result<(), Failure> {
    let style = text(size, colour).pos(Pos::new(align, VPos::Center));
    let place = (x as i32 * SCALE, (y as i32 + BELOW_CENTRE) * SCALE);
    root.draw(&Text::new(line, place, style))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_grows_with_its_tasks() {
        let task = |lines| TaskOutcomes {
            task: "task",
            outcomes: (0..lines)
                .map(|_| Outcome {
                    planner: "cem".to_owned(),
                    share: 0.5,
                    interval: (0.4, 0.6),
                    seconds: 0.1,
                })
                .collect(),
        };
        let height = |tasks: &[TaskOutcomes]| draw_success(tasks, &[]).unwrap().height();
        let empty = height(&[]);
        assert_eq!(empty, HEADER + FOOTER);
        assert_eq!(height(&[task(3), task(2)]), empty + TITLE + 3 * LINE + AXIS);
        assert_eq!(
            height(&[task(1), task(1), task(1)]),
            empty + 2 * (TITLE + LINE + AXIS)
        );
    }
}
