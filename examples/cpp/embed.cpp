// Embeds clips with a trained model, without Python.
//
//     embed MODEL.pt2 FRAMES.rgb FEATURES.npy [LIBRARY]
//
//     MODEL.pt2       a model that was compiled by  python -m strf_cuda.export --format aoti
//     FRAMES.rgb      frames of the model's size, one clip after the other, as ffmpeg writes them with
//                     -pix_fmt rgb24 -f rawvideo: for every pixel, row by row, a byte each of red, green and blue
//     FEATURES.npy    written: float32 [clips, F], for numpy.load
//     LIBRARY         libstrf_cuda.so, the compiled operator inside the model; where the system finds it if not given
//
// Where other programs run as well, start it with GOMP_SPINCOUNT=1000 in the environment, or threads that wait for each
// other take the time of those that work.
//
// A model that was compiled on a GPU runs on that GPU; nothing here changes for it.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/InferenceMode.h>
#include <dlfcn.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

using torch::inductor::AOTIModelPackageLoader;

namespace {

constexpr int64_t batch = 16;  // clips at a time; any number works, and more need more memory

// What is wrong with the input, in one sentence.
struct InputError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What the package says of itself: the size of its clips, what it calls, where it runs.
class Facts {
 public:
  explicit Facts(const std::string& path) : path_(path) {
    if (!std::filesystem::is_regular_file(path)) throw InputError("there is no package " + path);
    try {
      values_ = AOTIModelPackageLoader::load_metadata_from_package(path, "model");
    } catch (const std::exception&) {
      throw InputError(path + " is no package of AOTInductor, or damaged; make one with --format aoti");
    }
  }
  std::string text(const std::string& name) const {
    const auto found = values_.find(name);
    if (found == values_.end())
      throw InputError(path_ + " was not saved by strf_cuda.export, since it does not say its " + name);
    return found->second;
  }
  int64_t number(const std::string& name) const { return std::stoll(text(name)); }

 private:
  std::string path_;
  std::unordered_map<std::string, std::string> values_;
};

// Loading the library is all that is needed: it makes its operators known to PyTorch, of which the package calls one.
void load_operator(const std::string& name, const std::string& library) {
  const std::string advice = "; python -m strf_cuda says where it is, give its path as the last argument";
  if (dlopen(library.c_str(), RTLD_NOW) == nullptr)
    throw InputError("the operator library does not load: " + std::string(dlerror()) + advice);
  if (!c10::Dispatcher::singleton().findSchema({name, ""}))
    throw InputError(library + " is not the operator library, since it lacks " + name + advice);
}

// uint8 [clips, T, H, W, 3]; the file is mapped, so only what is looked at is read.
at::Tensor read_frames(const std::string& path, int64_t frames, int64_t height, int64_t width) {
  std::error_code error;
  const auto bytes = static_cast<int64_t>(std::filesystem::file_size(path, error));
  if (error) throw InputError("cannot read the frames " + path + ": " + error.message());
  const int64_t clip = frames * height * width * 3;
  if (bytes == 0 || bytes % clip != 0)
    throw InputError(path + " has " + std::to_string(bytes) + " bytes, but must hold whole clips of " +
                     std::to_string(clip) + ": " + std::to_string(frames) + " frames, " + std::to_string(width) +
                     " wide, " + std::to_string(height) + " high, of 3 bytes a pixel");
  return at::from_file(path, /*shared=*/false, bytes, at::kByte).view({bytes / clip, frames, height, width, 3});
}

at::Tensor embed(AOTIModelPackageLoader& model, const at::Tensor& frames, at::Device device) {
  std::vector<at::Tensor> features;
  for (int64_t first = 0; first < frames.size(0); first += batch) {
    const at::Tensor part = frames.slice(0, first, std::min(first + batch, frames.size(0)));
    // The package reads memory as [B, 3, T, H, W] and looks neither at sizes nor at strides.
    const at::Tensor clips = part.to(device).permute({0, 4, 1, 2, 3}).contiguous();
    features.push_back(model.run({clips}).at(0).cpu());
  }
  return at::cat(features);
}

// The format of numpy.save, version 1: magic, length of the header, a header that ends on 64 bytes, the numbers.
void write_npy(const std::string& path, const at::Tensor& array) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(array.size(0)) + ", " +
                       std::to_string(array.size(1)) + "), }";
  header.append(63 - (10 + header.size()) % 64, ' ').append("\n");
  const char begin[] = {'\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0, char(header.size() % 256), char(header.size() / 256)};
  std::ofstream file(path, std::ios::binary);
  file.write(begin, sizeof begin).write(header.data(), header.size());
  file.write(static_cast<const char*>(array.const_data_ptr()), array.nbytes());
  if (!file.flush()) throw InputError("cannot write " + path);
}

void print_row(const at::Tensor& row, int64_t most) {
  for (int64_t i = 0; i < std::min(row.size(0), most); ++i) std::cout << std::setw(9) << row[i].item<float>();
  std::cout << (row.size(0) > most ? " ...\n" : "\n");
}

void run(const std::vector<std::string>& words) {
  if (words.size() != 3 && words.size() != 4)
    throw InputError("usage: embed MODEL.pt2 FRAMES.rgb FEATURES.npy [LIBRARY]");
  const Facts facts(words[0]);
  const at::Device device(facts.text("device"));
  const int64_t length = facts.number("frames"), height = facts.number("height"), width = facts.number("width");
  const at::Tensor frames = read_frames(words[1], length, height, width);
  const std::string operation = facts.text("operator");
  if (operation != "none") load_operator(operation, words.size() == 4 ? words[3] : "libstrf_cuda.so");

  const c10::InferenceMode no_gradients;
  AOTIModelPackageLoader model(words[0]);
  embed(model, frames.slice(0, 0, 1), device);  // the first call prepares what later ones use
  const auto begin = std::chrono::steady_clock::now();
  const at::Tensor features = embed(model, frames, device);
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - begin;
  write_npy(words[2], features);

  const int64_t clips = features.size(0);
  std::cout << "model     " << facts.text("fingerprint").substr(0, 12) << ", clips of " << length << " frames, "
            << width << "x" << height << ", on " << device << ", threads: " << at::get_num_threads() << '\n'
            << "features  [" << clips << ", " << features.size(1) << "] in " << words[2] << ", " << std::fixed
            << std::setprecision(2) << time.count() / clips << " ms a clip\n"
            << std::setprecision(4) << "first clip";
  print_row(features[0], 6);
  // Embeddings have unit length, and are compared by cosine distance: 0 is the same, 2 the opposite.
  const at::Tensor unit = features / features.norm(2, {1}, /*keepdim=*/true);
  const at::Tensor distances = (1 - unit.matmul(unit.t())).clamp_min(0);
  std::cout << "cosine distances between the clips\n";
  for (int64_t i = 0; i < std::min<int64_t>(clips, 8); ++i) print_row(distances[i], 8);
}

}  // namespace

int main(int count, char** words) {
  try {
    run({words + 1, words + count});
    return 0;
  } catch (const InputError& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 2;
  } catch (const c10::Error& error) {
    std::cerr << "error: " << error.what_without_backtrace() << '\n';
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
  }
  return 1;
}
