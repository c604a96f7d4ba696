//! Which networks the CUDA backend can compute.

use crate::backend::cuda::kernels::{ConvTail, OCTET};
use crate::error::{Error, Result};
use crate::model::Network;
use crate::model::network::Block;

/// Refuses a layer that has no kernel or that tensor cores do not take, with its name.
pub fn check(network: &Network) -> Result<()> {
    for (index, layer) in network.layers.iter().enumerate() {
        let refused = |key: &str, found: String, expected: String| {
            let name = &layer.name;
            Err(Error::usage(format!(
                "layer {name}: {key} = {found}: the CUDA backend expects {expected}; --device cpu takes any"
            )))
        };
        match &layer.block {
            Block::Conv(conv) => {
                let (filters, groups) = (conv.out_channels, conv.groups);
                if index == 0 && groups != 1 {
                    return refused("groups", groups.to_string(), "1 in the first layer".into());
                }
                if !(filters / groups).is_multiple_of(OCTET) {
                    return refused("filters", filters.to_string(), format!("a multiple of {OCTET} in each group"));
                }
                if index > 0 && !(conv.in_channels / groups).is_multiple_of(OCTET) {
                    let expected = format!("a multiple of {OCTET} of the {} input channels in each", conv.in_channels);
                    return refused("groups", groups.to_string(), expected);
                }
                if let Err(expected) = ConvTail::new(conv) {
                    return refused("tail", format!("{:?}", conv.tail), expected);
                }
            }
            Block::Dense(dense) => {
                if index == 0 {
                    return refused("operation", "dense".into(), "a convolution first".into());
                }
                if dense.hidden.is_some() && !dense.outputs.is_multiple_of(OCTET) {
                    return refused("units", dense.outputs.to_string(), format!("a multiple of {OCTET}"));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layers::{ConvSpec, LayerSpec, Operation, Pool, Tail};
    use crate::recipe::alexnet;
    use crate::recipe::settings::ModelSettings;

    #[test]
    fn what_has_no_kernel_is_refused_by_the_name_of_its_layer() {
        let checked = |index: usize, change: fn(&mut ConvSpec)| {
            let mut layers: Vec<LayerSpec> = alexnet::layers(&ModelSettings { width: 0.1, ..ModelSettings::default() });
            let Operation::Conv(conv) = &mut layers[index].operation else { panic!("a convolution") };
            change(conv);
            check(&Network::from_layers(&layers, 227, 10).expect("a network"))
        };
        checked(1, |_| ()).expect("the paper's network");
        for (index, change, expected) in [
            (0, (|conv| (conv.groups, conv.filters) = (3, 24)) as fn(&mut ConvSpec), "layer conv1: groups = 3"),
            (1, |conv| conv.filters = 12, "layer conv2: filters = 12: the CUDA backend expects a multiple of 8"),
            (2, |conv| (conv.groups, conv.filters) = (2, 32), "layer conv3: groups = 2"),
            (2, |conv| conv.tail.clear(), "layer conv3: tail = []"),
            (4, |conv| conv.tail[1] = Tail::Pool(Pool { window: 2, stride: 2 }), "expects pooling of 3 x 3"),
        ] {
            let message = checked(index, change).expect_err(expected).to_string();
            assert!(message.contains(expected), "{expected}: {message}");
        }
    }
}
