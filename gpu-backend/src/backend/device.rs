//! The devices that the engine can run on. This is the only file that names a device's
//! feature.
//! Knows nothing of what runs on them.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;

/// A device that the engine can be told to run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceKind {
    #[default]
    Cpu,
    /// The first NVIDIA GPU.
    Cuda,
    /// The first GPU with a Vulkan driver, or Mesa's driver in software.
    Vulkan,
}

/// A device that this build or this machine does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    #[error("unknown device {0:?}; known: cpu, cuda, vulkan")]
    Unknown(String),
    #[error("this binary was built without the feature `{0}`")]
    NotBuilt(DeviceKind),
    #[error("no CUDA driver library (libcuda) on this machine")]
    NoDriver,
    #[error("the CUDA driver gives no device: {0}")]
    NoCuda(String),
    #[error("kernels cannot be compiled: no NVRTC library (libnvrtc) on this machine")]
    NoCompiler,
    #[error(
        "kernels cannot be compiled: no CUDA headers; set CUDA_PATH to the folder whose `include` has them"
    )]
    NoHeaders,
    #[error("no Vulkan device: {0}")]
    NoVulkan(String),
}

impl FromStr for DeviceKind {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        match name {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda),
            "vulkan" => Ok(Self::Vulkan),
            other => Err(DeviceError::Unknown(other.to_owned())),
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Vulkan => "vulkan",
        })
    }
}

/// Opens a device, or says why it cannot be had.
///
/// # Errors
/// The feature is not built in, or the machine lacks what the device needs.
pub fn open(kind: DeviceKind) -> Result<Device, DeviceError> {
    match kind {
        DeviceKind::Cpu => Ok(Device::flex()),
        DeviceKind::Cuda => cuda::open(),
        DeviceKind::Vulkan => vulkan::open(),
    }
}

/// Bytes that a device still has to give; `None` where it does not tell. What loading
/// left over in the device's pools is given back first.
pub fn memory_available_bytes(kind: DeviceKind, device: &Device) -> Option<u64> {
    // A device that fails here fails at its first step, where that is said.
    let _ = device.sync();
    device.memory_cleanup();
    match kind {
        DeviceKind::Cpu => crate::memory::available_bytes(),
        DeviceKind::Cuda => cuda::memory_free_bytes(),
        // Vulkan has no portable word for it.
        DeviceKind::Vulkan => None,
    }
}

#[cfg(not(feature = "cuda"))]
mod cuda {
    use super::{Device, DeviceError, DeviceKind};

    pub(super) fn open() -> Result<Device, DeviceError> {
        Err(DeviceError::NotBuilt(DeviceKind::Cuda))
    }

    pub(super) fn memory_free_bytes() -> Option<u64> {
        None
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use cudarc::driver::CudaContext;

    use super::{Device, DeviceError};

    #[expect(unsafe_code, reason = "cudarc's probes load shared libraries")]
    pub(super) fn open() -> Result<Device, DeviceError> {
        // cudarc panics on its first call where a library is missing, and cubecl where
        // there is no device: ask before.
        // SAFETY: these only look for shared libraries by their names.
        let (driver, compiler) = unsafe {
            (
                cudarc::driver::sys::is_culib_present(),
                cudarc::nvrtc::sys::is_culib_present(),
            )
        };
        if !driver {
            return Err(DeviceError::NoDriver);
        }
        CudaContext::new(0).map_err(|error| DeviceError::NoCuda(error.to_string()))?;
        if !compiler {
            return Err(DeviceError::NoCompiler);
        }
        let headers = cubecl_cuda::install::cuda_path().map(|path| path.join("include"));
        if headers.is_none_or(|path| !path.join("cuda_runtime.h").exists()) {
            return Err(DeviceError::NoHeaders);
        }
        Ok(Device::cuda(0))
    }

    pub(super) fn memory_free_bytes() -> Option<u64> {
        let context = CudaContext::new(0).ok()?;
        context.bind_to_thread().ok()?;
        let (free, _) = cudarc::driver::result::mem_get_info().ok()?;
        u64::try_from(free).ok()
    }
}

#[cfg(not(feature = "vulkan"))]
mod vulkan {
    use super::{Device, DeviceError, DeviceKind};

    pub(super) fn open() -> Result<Device, DeviceError> {
        Err(DeviceError::NotBuilt(DeviceKind::Vulkan))
    }
}

#[cfg(feature = "vulkan")]
mod vulkan {
    use std::sync::OnceLock;

    use burn::tensor::wgpu::WgpuBackend;

    use super::{Device, DeviceError};

    pub(super) fn open() -> Result<Device, DeviceError> {
        // A process may set the device up once.
        static OPENED: OnceLock<Result<Device, DeviceError>> = OnceLock::new();
        let first = || {
            let options = Device::wgpu_options().graphics_api(WgpuBackend::Vulkan);
            let opened = options.init();
            opened.map_err(|error| DeviceError::NoVulkan(error.to_string()))
        };
        OPENED.get_or_init(first).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_known_by_its_name() {
        for kind in [DeviceKind::Cpu, DeviceKind::Cuda, DeviceKind::Vulkan] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let unknown = "tpu".parse::<DeviceKind>().unwrap_err();
        assert!(unknown.to_string().contains("tpu"), "{unknown}");
    }

    #[test]
    fn the_cpu_is_always_there_and_tells_its_memory() {
        let cpu = open(DeviceKind::Cpu).unwrap();
        assert!(memory_available_bytes(DeviceKind::Cpu, &cpu).is_none_or(|bytes| bytes > 0));
    }
}
