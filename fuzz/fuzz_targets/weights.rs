//! Any file as weights of other implementations: PyTorch's state dictionaries, TensorFlow's arrays.
#![no_main]

mod common;

use burn::tensor::Device;
use latco_model::{
    Activation,
    convert::{self, HostArray},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: common::init(), |bytes: &[u8]| {
    let (path, _folder) = common::file("weights", bytes);
    if let Ok(arrays) = convert::read_state_dict(&path) {
        let _ = convert::pytorch(&arrays, Activation::Relu, &Device::default());
    }
    if let Ok(arrays) = latco_env::read_arrays(&path) {
        let host = |array: latco_env::FloatArray| HostArray {
            shape: array.shape,
            values: array.values,
        };
        if let Ok(named) = convert::name_in_order(arrays.into_iter().map(host).collect()) {
            let _ = convert::tensorflow(&named, &Device::default());
        }
    }
});
