use super::{
    ConvertError, HostArray, NamedArrays,
    tensorflow::{DECODER, DYNAMICS, ENCODER, Part, REWARD},
};

/// Names the arrays of a LatCo or Dreamer agent that were saved as a list, in the order of
/// `tf.Module.variables`.
///
/// Such a list also holds counters, running means and whatever else the agent has. Each part of
/// the model is a run of neighbours in it, found by its shapes: the dynamics by the two biases of
/// the GRU, encoder and decoder by their kernels, the reward head by its inputs (a latent), its
/// two hidden layers of one size and its one output.
///
/// # Errors
///
/// If a part is not found, or more than once.
pub fn name_in_order(arrays: Vec<HostArray>) -> Result<NamedArrays, ConvertError> {
    let shapes: Vec<_> = arrays.iter().map(|array| array.shape.as_slice()).collect();
    let dynamics = find("dynamics", &DYNAMICS, &shapes, is_dynamics)?;
    let [state, moments] = [shapes[dynamics + 1][0], shapes[dynamics + 8][0]];
    let latent = state + moments / 2;
    let parts = [
        (DYNAMICS, dynamics),
        (ENCODER, find("encoder", &ENCODER, &shapes, is_encoder)?),
        (DECODER, find("decoder", &DECODER, &shapes, is_decoder)?),
        (
            REWARD,
            find("reward head", &REWARD, &shapes, |run| {
                is_reward(run, latent)
            })?,
        ),
    ];
    let mut arrays: Vec<_> = arrays.into_iter().map(Some).collect();
    let mut named = NamedArrays::new();
    for (part, start) in parts {
        for (name, array) in names(&part).into_iter().zip(&mut arrays[start..]) {
            named.extend(array.take().map(|array| (name, array)));
        }
    }
    Ok(named)
}

/// The names of all arrays of a part.
fn names((part, layers): &Part) -> Vec<String> {
    let of_layer = |(layer, arrays): &(&'static str, &'static [&'static str])| {
        let layer = *layer;
        arrays
            .iter()
            .map(move |array| format!("{part}/{layer}/{array}"))
    };
    layers.iter().flat_map(of_layer).collect()
}

/// Where the one run of arrays begins whose shapes are those of a part.
fn find(
    name: &'static str,
    part: &Part,
    shapes: &[&[usize]],
    is_part: impl Fn(&[&[usize]]) -> bool,
) -> Result<usize, ConvertError> {
    let runs = shapes.windows(names(part).len()).enumerate();
    let starts: Vec<_> = runs
        .filter(|(_, run)| is_part(run))
        .map(|(start, _)| start)
        .collect();
    match starts[..] {
        [start] => Ok(start),
        _ => Err(ConvertError::Run {
            part: name,
            found: starts.len(),
        }),
    }
}

/// `[H, 3 D], [D, 3 D], [2, 3 D]`, then matrices with their biases.
fn is_dynamics(run: &[&[usize]]) -> bool {
    let (cell, layers) = run.split_at(3);
    matches!(
        *cell,
        [&[_, of_input], &[state, of_state], &[2, of_bias]]
            if 3 * state == of_input && of_input == of_state && of_state == of_bias
    ) && layers.chunks(2).all(is_dense)
}

fn is_encoder(run: &[&[usize]]) -> bool {
    matches!(run[0], [4, 4, 3, _]) && run.chunks(2).all(|layer| is_convolution(layer, 4, 3))
}

fn is_decoder(run: &[&[usize]]) -> bool {
    let sides = [5, 5, 6, 6];
    is_dense(&run[..2])
        && (run[2..].chunks(2).zip(sides)).all(|(layer, side)| is_convolution(layer, side, 2))
}

fn is_reward(run: &[&[usize]], latent: usize) -> bool {
    let units = run[1].first().copied().unwrap_or(0);
    let expected: [&[usize]; 6] = [
        &[latent, units],
        &[units],
        &[units, units],
        &[units],
        &[units, 1],
        &[1],
    ];
    run == expected
}

/// A matrix `[inputs, outputs]` and its bias.
fn is_dense(layer: &[&[usize]]) -> bool {
    matches!(*layer, [&[_, outputs], &[bias]] if outputs == bias)
}

/// A kernel of `side` whose dimension `outputs` counts the outputs, and its bias.
fn is_convolution(layer: &[&[usize]], side: usize, outputs: usize) -> bool {
    match *layer {
        [kernel, &[bias]] if kernel.len() == 4 => {
            kernel[..2] == [side, side] && kernel[outputs] == bias
        }
        _ => false,
    }
}
