//! Products with matrices that stay the same for a whole plan, packed once as vectors read them.
//!
//! What follows a product is done to its sums while they are in registers.

use rten_simd::{
    Isa, Simd, SimdOp, SimdUnaryOp,
    ops::{BitOps, NumOps},
};

/// Vectors that a panel is wide, and rows whose sums are held at once: twelve vectors of sums and what they are
/// made of fit into the registers of every instruction set.
const VECTORS: usize = 2;
const ROWS: usize = 6;

/// Rows where there are twice as many registers, which is known of those of this length: a weight that is fetched
/// serves twice as often.
const MANY_ROWS: usize = 2 * ROWS;
const LONG_VECTOR: usize = 16;

/// A matrix `[inputs, outputs]` with a bias, in panels of as many columns as [`VECTORS`] vectors have, a row of a
/// panel after the other. The last panel is one vector wide where that is enough; zeros fill it up.
#[derive(Clone, Debug)]
pub struct Packed {
    inputs: usize,
    outputs: usize,
    panels: Vec<f32>,
    bias: Vec<f32>,
}

/// The numbers in a vector.
struct VectorLength;

impl SimdOp for VectorLength {
    type Output = usize;

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) -> usize {
        isa.f32().len()
    }
}

impl Packed {
    /// The matrix with the entries `at(input, output)`, and with zeros where there is no `bias`.
    pub fn new(
        [inputs, outputs]: [usize; 2],
        bias: &[f32],
        at: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let vector = VectorLength.dispatch();
        let columns = outputs.next_multiple_of(vector);
        let mut panels = Vec::with_capacity(columns * inputs);
        for first in (0..columns).step_by(VECTORS * vector) {
            let end = columns.min(first + VECTORS * vector);
            for input in 0..inputs {
                let own = (first..end).map(|output| match output < outputs {
                    true => at(input, output),
                    false => 0.0,
                });
                panels.extend(own);
            }
        }
        let mut padded = bias.to_vec();
        padded.resize(columns, 0.0);
        Self {
            inputs,
            outputs,
            panels,
            bias: padded,
        }
    }

    /// Multiplications for one row.
    pub fn products(&self) -> usize {
        self.inputs * self.outputs
    }
}

/// Some columns of rows that are `stride` numbers apart, from the first number of the first row on. With a stride
/// of zero every row is the same one.
#[derive(Clone, Copy)]
pub struct Columns<'a> {
    pub values: &'a [f32],
    pub stride: usize,
}

impl<'a> Columns<'a> {
    pub fn new(values: &'a [f32], stride: usize) -> Self {
        Self { values, stride }
    }

    /// Columns from `first` on.
    pub fn from(self, first: usize) -> Self {
        Self {
            values: &self.values[first..],
            ..self
        }
    }

    /// A row from its column `first` on, and what follows it.
    pub fn row(self, row: usize, first: usize) -> &'a [f32] {
        &self.values[row * self.stride + first..]
    }

    /// A vector of a row's numbers, those from `column` on; what lies beyond the last is zero.
    #[inline(always)]
    pub fn vector<I: Isa>(self, isa: I, row: usize, column: usize) -> I::F32 {
        let ops = isa.f32();
        let values = self.row(row, column);
        match values.len() >= ops.len() {
            true => ops.load(values),
            false => ops.load_pad(values).0,
        }
    }
}

/// What becomes of the sums of a product.
pub trait Finish {
    /// What is stored in place of `sums`, those of this row and of the columns from `column` on.
    fn finish<I: Isa>(&self, isa: I, sums: I::F32, row: usize, column: usize) -> I::F32;
}

/// The sums themselves.
pub struct Sums;

impl Finish for Sums {
    #[inline(always)]
    fn finish<I: Isa>(&self, _isa: I, sums: I::F32, _row: usize, _column: usize) -> I::F32 {
        sums
    }
}

/// A function of each sum.
pub struct Apply<F>(pub F);

impl<F: SimdUnaryOp<f32>> Finish for Apply<F> {
    #[inline(always)]
    fn finish<I: Isa>(&self, isa: I, sums: I::F32, _row: usize, _column: usize) -> I::F32 {
        self.0.eval(isa, sums)
    }
}

/// Each sum times the number in its place.
pub struct Times<'a>(pub Columns<'a>);

impl Finish for Times<'_> {
    #[inline(always)]
    fn finish<I: Isa>(&self, isa: I, sums: I::F32, row: usize, column: usize) -> I::F32 {
        isa.f32().mul(sums, self.0.vector(isa, row, column))
    }
}

/// Each sum plus the number in its place.
pub struct Plus<'a>(pub Columns<'a>);

impl Finish for Plus<'_> {
    #[inline(always)]
    fn finish<I: Isa>(&self, isa: I, sums: I::F32, row: usize, column: usize) -> I::F32 {
        isa.f32().add(sums, self.0.vector(isa, row, column))
    }
}

/// Some columns of rows that are to be written.
pub struct ColumnsMut<'a> {
    pub values: &'a mut [f32],
    pub stride: usize,
}

impl<'a> ColumnsMut<'a> {
    pub fn new(values: &'a mut [f32], stride: usize) -> Self {
        Self { values, stride }
    }
}

impl Packed {
    /// `finish(x W + b)` of `rows` rows `x` `[rows, inputs]`, to `[rows, outputs]`.
    pub fn affine(
        &self,
        rows: usize,
        inputs: Columns<'_>,
        finish: impl Finish,
        outputs: ColumnsMut<'_>,
    ) {
        self.multiply(Some(&self.bias), rows, inputs, finish, outputs);
    }

    /// `finish(x W)`.
    pub fn linear(
        &self,
        rows: usize,
        inputs: Columns<'_>,
        finish: impl Finish,
        outputs: ColumnsMut<'_>,
    ) {
        self.multiply(None, rows, inputs, finish, outputs);
    }

    fn multiply(
        &self,
        bias: Option<&[f32]>,
        rows: usize,
        inputs: Columns<'_>,
        finish: impl Finish,
        outputs: ColumnsMut<'_>,
    ) {
        let product = Product {
            rows,
            inputs,
            matrix: self,
            bias,
            finish,
            outputs,
        };
        product.dispatch();
    }
}

struct Product<'a, F> {
    rows: usize,
    inputs: Columns<'a>,
    matrix: &'a Packed,
    bias: Option<&'a [f32]>,
    finish: F,
    outputs: ColumnsMut<'a>,
}

impl<F: Finish> SimdOp for Product<'_, F> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(mut self, isa: I) {
        let width = VECTORS * isa.f32().len();
        let matrix = self.matrix;
        let wide = matrix.bias.len() / width * width;
        let (panels, last) = matrix.panels.split_at(wide * matrix.inputs);
        let panels = panels.chunks_exact(width * matrix.inputs);
        for (index, weights) in panels.enumerate() {
            self.fill_panel::<I, VECTORS>(isa, weights, index * width);
        }
        if !last.is_empty() {
            self.fill_panel::<I, 1>(isa, last, wide);
        }
    }
}

impl<F: Finish> Product<'_, F> {
    /// The results in the columns of a panel `V` vectors wide, from the column `first` on.
    #[inline(always)]
    fn fill_panel<I: Isa, const V: usize>(&mut self, isa: I, weights: &[f32], first: usize) {
        let long = isa.f32().len() >= LONG_VECTOR;
        let mut row = 0;
        while row < self.rows {
            row += match self.rows - row {
                MANY_ROWS.. if long => self.fill::<I, V, MANY_ROWS>(isa, weights, [row, first]),
                ROWS.. => self.fill::<I, V, ROWS>(isa, weights, [row, first]),
                5 => self.fill::<I, V, 5>(isa, weights, [row, first]),
                4 => self.fill::<I, V, 4>(isa, weights, [row, first]),
                3 => self.fill::<I, V, 3>(isa, weights, [row, first]),
                2 => self.fill::<I, V, 2>(isa, weights, [row, first]),
                _ => self.fill::<I, V, 1>(isa, weights, [row, first]),
            };
        }
    }

    /// Those of `N` rows, from `first_row` on: `N`.
    #[inline(always)]
    fn fill<I: Isa, const V: usize, const N: usize>(
        &mut self,
        isa: I,
        weights: &[f32],
        [first_row, first_column]: [usize; 2],
    ) -> usize {
        let ops = isa.f32();
        let matrix = self.matrix;
        let rows: [&[f32]; N] =
            std::array::from_fn(|row| &self.inputs.row(first_row + row, 0)[..matrix.inputs]);
        let start = match self.bias {
            Some(bias) => ops.load_many::<V>(&bias[first_column..]),
            None => [ops.zero(); V],
        };
        let mut sums = [start; N];
        let weights = weights.chunks_exact(V * ops.len());
        for (input, weights) in (0..matrix.inputs).zip(weights) {
            let weights = ops.load_many::<V>(weights);
            for row in 0..N {
                let value = ops.splat(rows[row][input]);
                for vector in 0..V {
                    sums[row][vector] = ops.mul_add(value, weights[vector], sums[row][vector]);
                }
            }
        }
        let end = matrix.outputs.min(first_column + V * ops.len());
        for (row, sums) in (first_row..).zip(sums) {
            let columns = (first_column..end).step_by(ops.len());
            for (column, sums) in columns.zip(sums) {
                let results = self.finish.finish(isa, sums, row, column);
                let first = row * self.outputs.stride;
                let own = &mut self.outputs.values[first + column..first + end];
                store(isa, results, own);
            }
        }
        N
    }
}

/// Stores as many of the numbers as there is room for.
#[inline(always)]
fn store<I: Isa>(isa: I, numbers: I::F32, room: &mut [f32]) {
    let ops = isa.f32();
    if room.len() >= ops.len() {
        ops.store(numbers, room);
    } else {
        room.copy_from_slice(&numbers.to_array().as_ref()[..room.len()]);
    }
}
