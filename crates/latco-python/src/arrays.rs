//! Numbers between tensors and arrays of numpy.
//!
//! Into Python a tensor's numbers are copied once, into a `bytearray` that the array lies upon; out of
//! it an array is read where it lies, by the buffer protocol.

use burn::tensor::{Device, Tensor, TensorData};
use latco_env::Image;
use pyo3::{
    buffer::{Element, PyBuffer},
    intern,
    prelude::*,
    types::{PyByteArray, PyDict},
};

use crate::errors::Kind;

/// An array of these bytes, which are of this type of numpy's.
fn array<'py>(
    py: Python<'py>,
    bytes: &[u8],
    kind: &str,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    let bytes = PyByteArray::new(py, bytes);
    let numpy = py.import(intern!(py, "numpy"))?;
    let array = numpy.call_method1(intern!(py, "frombuffer"), (bytes, kind))?;
    array.call_method1(intern!(py, "reshape"), (shape.to_vec(),))
}

/// `float32` numbers as an array.
pub fn float_array<'py>(
    py: Python<'py>,
    values: Vec<f32>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    let data = TensorData::new(values, shape.to_vec());
    array(py, data.as_bytes(), "float32", shape)
}

/// A tensor's numbers as an array.
pub fn tensor_array<'py, const D: usize>(
    py: Python<'py>,
    tensor: Tensor<D>,
) -> PyResult<Bound<'py, PyAny>> {
    let shape = tensor.dims();
    let values = py.detach(|| host(tensor))?;
    float_array(py, values, &shape)
}

/// A tensor's numbers.
pub fn host<const D: usize>(tensor: Tensor<D>) -> PyResult<Vec<f32>> {
    let values = tensor.try_into_vec_as::<f32>();
    values.map_err(|error| Kind::Failure.error(format!("reading a tensor failed: {error}")))
}

/// Images of one size as `uint8` `[count, height, width, 3]`.
pub fn image_array<'py>(py: Python<'py>, images: &[Image]) -> PyResult<Bound<'py, PyAny>> {
    let (height, width) = images
        .first()
        .map_or((0, 0), |image| (image.height(), image.width()));
    let bytes: Vec<u8> = images.iter().flat_map(Image::pixels).copied().collect();
    array(py, &bytes, "uint8", &[images.len(), height, width, 3])
}

/// The numbers of `value` in `float32`, which must have this shape; `what` names it in errors.
pub fn floats(value: &Bound<'_, PyAny>, what: &str, expected: &[usize]) -> PyResult<Vec<f32>> {
    let py = value.py();
    let options = PyDict::new(py);
    options.set_item("dtype", "float32")?;
    options.set_item("order", "C")?;
    let numpy = py.import(intern!(py, "numpy"))?;
    let array = numpy.call_method(intern!(py, "asarray"), (value,), Some(&options))?;
    let shape: Vec<usize> = array.getattr(intern!(py, "shape"))?.extract()?;
    if shape != expected {
        let [shape, expected] = [&shape[..], expected].map(shape_text);
        return Err(Kind::Model.error(format!("{what} has the shape {shape}, expected {expected}")));
    }
    buffer(&array)
}

/// As [`floats`], a tensor.
pub fn tensor<const D: usize>(
    value: &Bound<'_, PyAny>,
    what: &str,
    expected: [usize; D],
    device: &Device,
) -> PyResult<Tensor<D>> {
    let values = floats(value, what, &expected)?;
    Ok(Tensor::from_data(TensorData::new(values, expected), device))
}

/// A frame, `uint8` `[height, width, 3]`, or `[height, width]` where it is grey.
pub fn image(frame: &Bound<'_, PyAny>) -> PyResult<Image> {
    let py = frame.py();
    let numpy = py.import(intern!(py, "numpy"))?;
    let array = numpy.call_method1(intern!(py, "ascontiguousarray"), (frame,))?;
    let kind: String = array.getattr("dtype")?.str()?.extract()?;
    let shape: Vec<usize> = array.getattr("shape")?.extract()?;
    let wrong = |found: String| {
        Kind::Frame.error(format!(
            "the frame has {found}, expected uint8 of shape (height, width, 3)"
        ))
    };
    if kind != "uint8" {
        return Err(wrong(format!("the type {kind}")));
    }
    let image = match *shape.as_slice() {
        [height, width, 3] => Image::new(width, height, buffer(&array)?),
        [height, width] => Image::from_grey(width, height, &buffer::<u8>(&array)?),
        _ => return Err(wrong(format!("the shape {}", shape_text(&shape)))),
    };
    image.map_err(|error| Kind::Frame.error(error))
}

fn buffer<T: Element>(array: &Bound<'_, PyAny>) -> PyResult<Vec<T>> {
    PyBuffer::<T>::get(array)?.to_vec(array.py())
}

/// A shape as Python writes it.
fn shape_text(shape: &[usize]) -> String {
    let sizes: Vec<_> = shape.iter().map(ToString::to_string).collect();
    match sizes.as_slice() {
        [one] => format!("({one},)"),
        sizes => format!("({})", sizes.join(", ")),
    }
}
