//! The messages of Caffe's `caffe.proto` that a network's weights need, as prost derives them.
//!
//! A blob's numbers are `repeated float [packed]` there and bytes here, which is the same on the wire: they stay where
//! they lie in the file.

use prost::Message;
use prost::bytes::Bytes;

#[derive(Clone, PartialEq, Message)]
pub(super) struct NetParameter {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    /// Files of before 2014's end.
    #[prost(message, repeated, tag = "2")]
    pub(super) layers: Vec<V1LayerParameter>,
    #[prost(int64, repeated, packed = "false", tag = "4")]
    pub(super) input_dim: Vec<i64>,
    #[prost(message, repeated, tag = "8")]
    pub(super) input_shape: Vec<BlobShape>,
    #[prost(message, repeated, tag = "100")]
    pub(super) layer: Vec<LayerParameter>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct V1LayerParameter {
    #[prost(string, optional, tag = "4")]
    pub(super) name: Option<String>,
    #[prost(int32, optional, tag = "5")]
    pub(super) kind: Option<i32>,
    #[prost(message, repeated, tag = "6")]
    pub(super) blobs: Vec<BlobProto>,
    #[prost(message, optional, tag = "10")]
    pub(super) convolution_param: Option<ConvolutionParameter>,
    #[prost(message, optional, tag = "18")]
    pub(super) lrn_param: Option<LrnParameter>,
    #[prost(message, optional, tag = "19")]
    pub(super) pooling_param: Option<PoolingParameter>,
    #[prost(message, optional, tag = "21")]
    pub(super) power_param: Option<PowerParameter>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LayerParameter {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(super) kind: Option<String>,
    #[prost(string, repeated, tag = "3")]
    pub(super) bottom: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub(super) top: Vec<String>,
    #[prost(message, repeated, tag = "7")]
    pub(super) blobs: Vec<BlobProto>,
    #[prost(message, optional, tag = "106")]
    pub(super) convolution_param: Option<ConvolutionParameter>,
    #[prost(message, optional, tag = "117")]
    pub(super) inner_product_param: Option<InnerProductParameter>,
    #[prost(message, optional, tag = "118")]
    pub(super) lrn_param: Option<LrnParameter>,
    #[prost(message, optional, tag = "121")]
    pub(super) pooling_param: Option<PoolingParameter>,
    #[prost(message, optional, tag = "122")]
    pub(super) power_param: Option<PowerParameter>,
    #[prost(message, optional, tag = "143")]
    pub(super) input_param: Option<InputParameter>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct BlobShape {
    #[prost(int64, repeated, tag = "1")]
    pub(super) dim: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct BlobProto {
    #[prost(int64, optional, tag = "1")]
    pub(super) num: Option<i64>,
    #[prost(int64, optional, tag = "2")]
    pub(super) channels: Option<i64>,
    #[prost(int64, optional, tag = "3")]
    pub(super) height: Option<i64>,
    #[prost(int64, optional, tag = "4")]
    pub(super) width: Option<i64>,
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub(super) data: Option<Bytes>,
    #[prost(message, optional, tag = "7")]
    pub(super) shape: Option<BlobShape>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConvolutionParameter {
    #[prost(uint32, optional, tag = "1")]
    pub(super) num_output: Option<u32>,
    #[prost(uint32, repeated, packed = "false", tag = "3")]
    pub(super) pad: Vec<u32>,
    #[prost(uint32, repeated, packed = "false", tag = "4")]
    pub(super) kernel_size: Vec<u32>,
    #[prost(uint32, optional, tag = "5")]
    pub(super) group: Option<u32>,
    #[prost(uint32, repeated, packed = "false", tag = "6")]
    pub(super) stride: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct InnerProductParameter {
    #[prost(uint32, optional, tag = "1")]
    pub(super) num_output: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LrnParameter {
    #[prost(uint32, optional, tag = "1", default = 5)]
    pub(super) local_size: Option<u32>,
    /// Of the sum's mean: n times ours.
    #[prost(float, optional, tag = "2", default = 1.0)]
    pub(super) alpha: Option<f32>,
    #[prost(float, optional, tag = "3", default = 0.75)]
    pub(super) beta: Option<f32>,
    /// 0 is across channels.
    #[prost(int32, optional, tag = "4")]
    pub(super) norm_region: Option<i32>,
    #[prost(float, optional, tag = "5", default = 1.0)]
    pub(super) k: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PoolingParameter {
    /// 0 is the maximum.
    #[prost(int32, optional, tag = "1")]
    pub(super) pool: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    pub(super) kernel_size: Option<u32>,
    #[prost(uint32, optional, tag = "3", default = 1)]
    pub(super) stride: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    pub(super) pad: Option<u32>,
}

/// (shift + scale x) ^ power.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PowerParameter {
    #[prost(float, optional, tag = "1", default = 1.0)]
    pub(super) power: Option<f32>,
    #[prost(float, optional, tag = "2", default = 1.0)]
    pub(super) scale: Option<f32>,
    #[prost(float, optional, tag = "3")]
    pub(super) shift: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct InputParameter {
    #[prost(message, repeated, tag = "1")]
    pub(super) shape: Vec<BlobShape>,
}

impl V1LayerParameter {
    /// As the format since has it, whose types are words.
    pub(super) fn upgraded(self) -> LayerParameter {
        let kind = match self.kind {
            Some(4) => "Convolution",
            Some(14) => "InnerProduct",
            Some(15) => "LRN",
            Some(17) => "Pooling",
            Some(18) => "ReLU",
            Some(26) => "Power",
            _ => "",
        };
        LayerParameter {
            name: self.name,
            kind: Some(kind.into()),
            blobs: self.blobs,
            convolution_param: self.convolution_param,
            lrn_param: self.lrn_param,
            pooling_param: self.pooling_param,
            power_param: self.power_param,
            ..LayerParameter::default()
        }
    }
}
