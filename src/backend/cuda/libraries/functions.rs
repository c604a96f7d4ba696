//! The functions that are called of each of CUDA's libraries: cudarc panics where one is missing, so all are looked for
//! before any is called. tests/cuda_backend/libraries.rs compares the lists with what a run calls.

/// libcuda's.
#[rustfmt::skip]
pub const DRIVER: &[&str] = &[
    "cuCtxSetCurrent", "cuCtxSynchronize", "cuDeviceGet", "cuDeviceGetAttribute", "cuDeviceGetCount",
    "cuDeviceGetName", "cuDevicePrimaryCtxRelease_v2", "cuDevicePrimaryCtxRetain", "cuDriverGetVersion",
    "cuEventCreate", "cuEventDestroy_v2", "cuEventElapsedTime_v2", "cuEventRecord", "cuEventSynchronize",
    "cuFuncGetAttribute", "cuFuncGetName", "cuGetErrorName", "cuGetErrorString", "cuGraphDestroy",
    "cuGraphExecDestroy", "cuGraphGetNodes", "cuGraphInstantiateWithFlags", "cuGraphKernelNodeGetParams_v2",
    "cuGraphLaunch", "cuGraphNodeGetType", "cuInit", "cuKernelGetFunction", "cuLaunchKernel", "cuMemAlloc_v2",
    "cuMemFreeHost", "cuMemFree_v2", "cuMemGetInfo_v2", "cuMemHostAlloc", "cuMemHostRegister_v2",
    "cuMemHostUnregister", "cuMemcpyDtoDAsync_v2", "cuMemcpyDtoH_v2", "cuMemcpyHtoDAsync_v2", "cuMemcpyHtoD_v2",
    "cuMemsetD8_v2", "cuModuleGetFunction", "cuModuleLoadData", "cuModuleUnload", "cuStreamBeginCapture_v2",
    "cuStreamCreateWithPriority", "cuStreamDestroy_v2", "cuStreamEndCapture", "cuStreamSynchronize",
    "cuStreamWaitEvent",
];

/// libnvrtc's.
#[rustfmt::skip]
pub const NVRTC: &[&str] = &[
    "nvrtcCompileProgram", "nvrtcCreateProgram", "nvrtcDestroyProgram", "nvrtcGetCUBIN", "nvrtcGetCUBINSize",
    "nvrtcGetProgramLog", "nvrtcGetProgramLogSize", "nvrtcVersion",
];

/// libcublasLt's.
#[rustfmt::skip]
pub const CUBLAS_LT: &[&str] = &[
    "cublasLtCreate", "cublasLtDestroy", "cublasLtGetVersion", "cublasLtMatmul", "cublasLtMatmulAlgoGetHeuristic",
    "cublasLtMatmulDescCreate", "cublasLtMatmulDescDestroy", "cublasLtMatmulDescSetAttribute",
    "cublasLtMatmulPreferenceCreate", "cublasLtMatmulPreferenceDestroy", "cublasLtMatmulPreferenceSetAttribute",
    "cublasLtMatrixLayoutCreate", "cublasLtMatrixLayoutDestroy",
];

/// libcudnn's.
#[rustfmt::skip]
pub const CUDNN: &[&str] = &[
    "cudnnConvolutionBackwardData", "cudnnConvolutionBackwardFilter", "cudnnConvolutionBiasActivationForward",
    "cudnnConvolutionForward", "cudnnCreate", "cudnnCreateActivationDescriptor", "cudnnCreateConvolutionDescriptor",
    "cudnnCreateFilterDescriptor", "cudnnCreateTensorDescriptor", "cudnnDestroy", "cudnnDestroyActivationDescriptor",
    "cudnnDestroyConvolutionDescriptor", "cudnnDestroyFilterDescriptor", "cudnnDestroyTensorDescriptor",
    "cudnnFindConvolutionBackwardDataAlgorithm", "cudnnFindConvolutionBackwardFilterAlgorithm",
    "cudnnFindConvolutionForwardAlgorithm", "cudnnGetConvolutionBackwardDataAlgorithm_v7",
    "cudnnGetConvolutionBackwardDataWorkspaceSize", "cudnnGetConvolutionBackwardFilterAlgorithm_v7",
    "cudnnGetConvolutionBackwardFilterWorkspaceSize", "cudnnGetConvolutionForwardAlgorithm_v7",
    "cudnnGetConvolutionForwardWorkspaceSize", "cudnnGetErrorString", "cudnnGetLastErrorString", "cudnnGetVersion",
    "cudnnSetActivationDescriptor", "cudnnSetConvolution2dDescriptor", "cudnnSetConvolutionGroupCount",
    "cudnnSetConvolutionMathType", "cudnnSetFilter4dDescriptor", "cudnnSetStream", "cudnnSetTensor4dDescriptor",
];
