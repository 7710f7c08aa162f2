// A device that is none: its tensors lie in the host's memory under another device's name. Every
// operation runs on the host, and is refused where tensors of both are mixed, as on a real one.
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/as_strided_cpu_dispatch.h>
#include <ATen/EmptyTensor.h>
#include <ATen/ATen.h>
#include <ATen/NativeFunctions.h>
#include <c10/core/impl/alloc_cpu.h>
#include <torch/csrc/utils/pybind.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

namespace {

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* data = bytes ? c10::alloc_cpu(bytes) : nullptr;
    return {data, data, &c10::free_cpu, c10::Device(c10::DeviceType::PrivateUse1, 0)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &c10::free_cpu; }
  void copy_data(void* to, const void* from, std::size_t bytes) const final {
    default_copy_data(to, from, bytes);
  }
};

Memory memory;
const c10::DispatchKeySet keys(c10::DispatchKey::PrivateUse1);

at::Tensor empty(c10::IntArrayRef size, std::optional<c10::ScalarType> type,
                 std::optional<c10::Layout>, std::optional<c10::Device>, std::optional<bool>,
                 std::optional<c10::MemoryFormat> format) {
  return at::detail::empty_generic(size, &memory, keys, c10::dtype_or_default(type), format);
}

at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride,
                         std::optional<c10::ScalarType> type, std::optional<c10::Layout>,
                         std::optional<c10::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &memory, keys, c10::dtype_or_default(type));
}

// The same memory as a tensor of the host.
at::Tensor host(const at::Tensor& x) {
  if (x.device().is_cpu()) return x;
  auto* data = static_cast<char*>(x.storage().mutable_data());
  auto offset = x.storage_offset() * x.element_size();
  return at::from_blob(data + offset, x.sizes(), x.strides(), x.options().device(c10::kCPU));
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  host(to).copy_(host(from));
  return to;
}

at::Tensor copy_and_resize(const at::Tensor& from, const at::Tensor& to) {
  at::native::resize_(to, from.sizes(), std::nullopt);
  host(to).copy_(host(from));
  return to;
}

at::Scalar scalar(const at::Tensor& x) { return host(x).item(); }

const at::Tensor& resize(const at::Tensor& x, c10::IntArrayRef size,
                         std::optional<c10::MemoryFormat>) {
  auto* impl = x.unsafeGetTensorImpl();
  int64_t count = 1;
  for (auto n : size) count *= n;
  auto bytes = (count + x.storage_offset()) * x.element_size();
  if (static_cast<size_t>(bytes) > x.storage().nbytes()) {
    auto fresh = memory.allocate(bytes);
    if (x.storage().nbytes())
      std::memcpy(fresh.get(), x.storage().data(), x.storage().nbytes());
    auto* storage = x.storage().unsafeGetStorageImpl();
    storage->set_data_ptr(std::move(fresh));
    storage->set_nbytes(bytes);
  }
  impl->set_sizes_contiguous(size);
  return x;
}

// In C++, since autograd's own threads ask for these, and must not wait for Python's lock.
struct Hooks final : at::PrivateUse1HooksInterface {
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
};

void check(const c10::OperatorHandle& op, const at::Tensor& x, bool& ours, bool& other) {
  if (!x.defined()) return;
  if (x.device().is_cpu()) other = other || x.dim() > 0;
  else ours = true;
}

void on_host(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  bool ours = false, other = false;
  for (const auto& value : torch::jit::last(*stack, op.schema().arguments().size())) {
    if (value.isTensor()) check(op, value.toTensor(), ours, other);
    if (value.isTensorList())
      for (const at::Tensor& x : value.toTensorList()) check(op, x, ours, other);
    if (value.isOptionalTensorList())
      for (const auto& x : value.toOptionalTensorVector())
        if (x) check(op, *x, ours, other);
  }
  TORCH_CHECK(!(ours && other), "Expected all tensors to be on the same device, but ",
              op.operator_name(), " got tensors on cpu and on the pretended device");
  at::native::cpu_fallback(op, stack);
}

// One device with one stream, on which all is done at once: there is nothing to wait for.
struct Guard final : c10::impl::DeviceGuardImplInterface {
  static constexpr c10::DeviceType static_type = c10::DeviceType::PrivateUse1;
  Guard() = default;
  explicit Guard(c10::DeviceType) {}
  c10::DeviceType type() const override { return static_type; }
  c10::Device exchangeDevice(c10::Device) const override { return getDevice(); }
  c10::Device getDevice() const override { return {static_type, 0}; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override { return stream(); }
  c10::Stream getDefaultStream(c10::Device) const override { return stream(); }
  c10::Stream exchangeStream(c10::Stream) const override { return stream(); }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, c10::DeviceIndex) const noexcept override {}
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}

 private:
  c10::Stream stream() const { return c10::Stream(c10::Stream::DEFAULT, getDevice()); }
};

}  // namespace

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&on_host>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_and_resize);
  m.impl("_local_scalar_dense", scalar);
  m.impl("resize_", resize);
  m.impl("as_strided", [](const at::Tensor& x, c10::IntArrayRef size, c10::IntArrayRef stride,
                          std::optional<int64_t> offset) {
    return at::cpu::as_strided(x, size, stride, offset);
  });
  m.impl("view", [](const at::Tensor& x, c10::IntArrayRef size) {
    return at::native::view(x, size);
  });
  m.impl("_reshape_alias", [](const at::Tensor& x, c10::IntArrayRef size, c10::IntArrayRef stride) {
    return at::native::_reshape_alias(x, size, stride);
  });
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  static Hooks hooks;
  at::RegisterPrivateUse1HooksInterface(&hooks);
}
