//! A contact sheet: rows of images under headings.

use latco_env::Image;

use super::canvas::{Align, Canvas, Colour, fitted};
use super::film::{INK, PAPER, SOFT_INK};
use crate::error::CliError;

/// Pixels around the sheet, between images, and before a row that begins a group.
const MARGIN: usize = 16;
const GAP: usize = 6;
const GROUP_GAP: usize = 20;
/// Height and size of the headings, size of the labels, and how wide their letters are.
const HEADING: usize = 28;
const HEADING_SIZE: usize = 15;
const LABEL_SIZE: usize = 14;
const LETTER: f64 = 0.61;

/// Images in rows and columns.
pub struct Sheet {
    /// What stands above each column, and in which colour.
    pub headings: Vec<(String, Colour)>,
    /// From the top.
    pub rows: Vec<SheetRow>,
}

/// One row of a sheet.
pub struct SheetRow {
    /// What stands before it, line by line.
    pub label: String,
    /// An image a column, or fewer.
    pub images: Vec<Image>,
    /// Whether the row is set off from the one above.
    pub begins_group: bool,
}

impl Sheet {
    /// The sheet as an image, each of its images enlarged to `high` pixels and as wide as [`width_of`] says of
    /// the widest.
    pub fn render(&self, high: usize) -> Result<Image, CliError> {
        let images = self.rows.iter().flat_map(|row| &row.images);
        let wide = images.map(|image| width_of(image, high)).max();
        let cell = (wide.unwrap_or(high), high);
        let left = MARGIN + self.label_width();
        let width = left + self.headings.len() * (cell.0 + GAP) - GAP + MARGIN;
        let mut canvas = Canvas::new(width, self.height(high), PAPER);
        for (column, (heading, colour)) in self.headings.iter().enumerate() {
            let place = (left + column * (cell.0 + GAP), MARGIN / 2 + HEADING / 2);
            canvas.write(place, heading, HEADING_SIZE, *colour, Align::Left)?;
        }
        let mut y = MARGIN / 2 + HEADING;
        for (index, row) in self.rows.iter().enumerate() {
            y += self.space_above(index);
            row.draw(&mut canvas, (left, y), cell)?;
            y += high + GAP;
        }
        canvas.into_image()
    }

    fn height(&self, high: usize) -> usize {
        let rows = (0..self.rows.len()).map(|index| self.space_above(index) + high + GAP);
        MARGIN / 2 + HEADING + rows.sum::<usize>() - GAP + MARGIN
    }

    fn space_above(&self, index: usize) -> usize {
        match index {
            0 => 0,
            _ if self.rows[index].begins_group => GROUP_GAP,
            _ => 0,
        }
    }

    /// The width of the labels with the space behind them.
    fn label_width(&self) -> usize {
        let lines = self.rows.iter().flat_map(|row| row.label.lines());
        let letters = lines.map(|line| line.chars().count()).max().unwrap_or(0);
        match letters {
            0 => 0,
            _ => (letters as f64 * LETTER * LABEL_SIZE as f64).ceil() as usize + 2 * GAP,
        }
    }
}

impl SheetRow {
    fn draw(
        &self,
        canvas: &mut Canvas,
        (left, y): (usize, usize),
        cell: (usize, usize),
    ) -> Result<(), CliError> {
        for (index, line) in self.label.lines().enumerate() {
            let ink = if index == 0 { INK } else { SOFT_INK };
            let place = (MARGIN, y + LABEL_SIZE + index * (LABEL_SIZE + 4));
            canvas.write(place, line, LABEL_SIZE, ink, Align::Left)?;
        }
        for (column, image) in self.images.iter().enumerate() {
            let place = (left + column * (cell.0 + GAP), y);
            canvas.paste(place, &fitted(image, cell)?);
        }
        Ok(())
    }
}

/// The width of an image `high` pixels high, and no less than that: pictures of several cameras stand side by side.
pub fn width_of(image: &Image, high: usize) -> usize {
    (high * image.width() / image.height()).max(high)
}

/// At most `count` places among `length`, evenly spaced from first to last.
pub fn spread(length: usize, count: usize) -> Vec<usize> {
    let count = count.min(length);
    (0..count)
        .map(|index| match count {
            1 => 0,
            _ => index * (length - 1) / (count - 1),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spread_from_first_to_last() {
        assert_eq!(spread(0, 5), Vec::<usize>::new());
        assert_eq!(spread(1, 5), [0]);
        assert_eq!(spread(3, 5), [0, 1, 2]);
        assert_eq!(spread(31, 4), [0, 10, 20, 30]);
    }

    #[test]
    fn images_stand_in_rows_and_columns() {
        let image = |value| Image::new(4, 4, vec![value; 48]).unwrap();
        let row = |value, begins_group| SheetRow {
            label: String::new(),
            images: vec![image(value), image(value + 1)],
            begins_group,
        };
        let heading = || (String::new(), INK);
        let sheet = Sheet {
            headings: vec![heading(), heading()],
            rows: vec![row(10, true), row(20, true)],
        };
        let drawn = sheet.render(8).unwrap();
        assert_eq!(drawn.width(), 2 * MARGIN + 2 * 8 + GAP);
        let value = |x: usize, y: usize| drawn.pixels()[3 * (y * drawn.width() + x)];
        let top = MARGIN / 2 + HEADING;
        let second = top + 8 + GAP + GROUP_GAP;
        assert_eq!(drawn.height(), second + 8 + MARGIN);
        let right = MARGIN + 8 + GAP;
        assert_eq!([value(MARGIN, top), value(right, top)], [10, 11]);
        assert_eq!([value(MARGIN, second), value(right, second)], [20, 21]);
    }

    #[test]
    fn wide_images_are_as_high_as_square_ones() {
        let image = |width, height| Image::new(width, height, vec![9; 3 * width * height]).unwrap();
        assert_eq!(width_of(&image(8, 4), 10), 20);
        assert_eq!(width_of(&image(4, 4), 10), 10);
        assert_eq!(width_of(&image(4, 8), 10), 10);
        let sheet = Sheet {
            headings: vec![(String::new(), INK)],
            rows: vec![SheetRow {
                label: String::new(),
                images: vec![image(8, 4)],
                begins_group: false,
            }],
        };
        let drawn = sheet.render(10).unwrap();
        let size = (2 * MARGIN + 20, MARGIN / 2 + HEADING + 10 + MARGIN);
        assert_eq!((drawn.width(), drawn.height()), size);
    }
}
