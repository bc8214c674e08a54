#include "importance.h"

#include "errors.h"
#include "files.h"

#include "ggml-backend.h"
#include "ggml.h"

#include <cmath>

namespace imp {

namespace {

constexpr const char * prefix = "blk.";
constexpr const char * suffix = ".weight";

/// The name of the block's matrix that `node` multiplies by, empty when it does not. The scheduler calls the copy of a
/// weight on another backend BACKEND#NAME#NUMBER.
std::string matrix_of(const ggml_tensor * node) {
    if (node->op != GGML_OP_MUL_MAT || node->src[1]->type != GGML_TYPE_F32 || !ggml_is_matrix(node->src[0])) {
        return "";
    }
    std::string  name = node->src[0]->name;
    const size_t mark = name.find('#');
    if (mark != name.npos) {
        name = name.substr(mark + 1, name.find('#', mark + 1) - mark - 1);
    }
    const size_t end = std::string(suffix).size();
    const bool   of_block = name.rfind(prefix, 0) == 0 && name.size() > end;
    return of_block && name.compare(name.size() - end, end, suffix) == 0 ? name : "";
}

} // namespace

void Importance::watch(llama_context_params & params) {
    params.cb_eval = look;
    params.cb_eval_user_data = this;
}

void Importance::forget() {
    sums_.clear();
}

void Importance::write(const std::string & path) const {
    std::string content = "imp-sums 1\n";
    for (const auto & [name, sums] : sums_) {
        for (const double square : sums.squares) {
            if (!std::isfinite(square)) {
                throw RunError("what goes into " + name + " is no number; the model's weights may have overflowed");
            }
        }
        content += name + " " + std::to_string(sums.squares.size()) + " " + std::to_string(sums.rows) + "\n";
        content.append(reinterpret_cast<const char *>(sums.squares.data()), sums.squares.size() * sizeof(double));
    }
    try {
        write_whole_file(path, content.data(), content.size());
    } catch (const StepError & error) {
        throw RunError(error.what());
    }
}

/// Called with `ask` for every node of the graph: true means that the graph is computed up to this node, and this is
/// called again without `ask`, where false would end the computation.
bool Importance::look(ggml_tensor * node, bool ask, void * self) {
    const std::string name = matrix_of(node);
    if (ask) {
        return !name.empty();
    }
    if (!name.empty() && ggml_nelements(node->src[1]) > 0) { // none in the last block, where no logits are asked for
        static_cast<Importance *>(self)->add(name, node->src[1]);
    }
    return true;
}

void Importance::add(const std::string & name, const ggml_tensor * input) {
    const int64_t columns = input->ne[0];
    input_.resize(ggml_nbytes(input));
    ggml_backend_tensor_get(input, input_.data(), /*offset*/ 0, input_.size());
    Sums & sums = sums_[name];
    sums.squares.resize(size_t(columns), 0);
    sums.rows += ggml_nrows(input);
    for (int64_t k = 0; k < input->ne[3]; ++k) {
        for (int64_t j = 0; j < input->ne[2]; ++j) {
            for (int64_t i = 0; i < input->ne[1]; ++i) {
                const char *  row = input_.data() + i * input->nb[1] + j * input->nb[2] + k * input->nb[3];
                const float * values = reinterpret_cast<const float *>(row);
                for (int64_t column = 0; column < columns; ++column) {
                    sums.squares[size_t(column)] += double(values[column]) * values[column];
                }
            }
        }
    }
}

} // namespace imp
