#include "job.h"

#include "pairs.h"
#include "utf8.h"

#include <algorithm>
#include <set>

namespace imp {

namespace {

constexpr int max_count = 1 << 24; // of tokens; far above any context, far below int overflow
constexpr int max_side = 1 << 13;  // pixels
constexpr int max_threads = 512;   // GGML_MAX_N_THREADS
constexpr int max_sample_ms = 60000;
constexpr int max_wait = 86400; // seconds

class JobReader {
public:
    explicit JobReader(const std::string & path) : pairs_(path, "imp-job 1") {}

    Job read() {
        while (pairs_.next()) {
            if (pairs_.is("step")) {
                end_block();
                job_.steps.emplace_back();
                in_step_ = true;
                pairs_.begin_block();
            } else if (pairs_.key() == "stop" && !in_step_) {
                job_.stop.push_back(pairs_.not_empty());
            } else {
                pairs_.once();
                if (in_step_) {
                    read_step_key(job_.steps.back());
                } else {
                    read_job_key();
                }
            }
        }
        end_block();
        if (job_.steps.empty()) {
            pairs_.fail("the job has no step");
        }
        return std::move(job_);
    }

private:
    void read_job_key() {
        const std::string & key = pairs_.key();
        if (key == "model") {
            job_.model = pairs_.not_empty();
        } else if (key == "mmproj") {
            job_.mmproj = pairs_.not_empty();
        } else if (key == "threads") {
            job_.threads = pairs_.number(0, max_threads);
        } else if (key == "cpu_mask") {
            job_.cpu_mask = parse_cpus(pairs_.value());
            if (!job_.cpu_mask) {
                pairs_.fail("`cpu_mask` is `" + pairs_.value() +
                            "`, which is not 1 to 16 hexadecimal digits with a CPU among them");
            }
        } else if (key == "warmup") {
            job_.warmup = pairs_.number(0, 1) == 1;
        } else if (key == "sample_ms") {
            job_.sample_ms = pairs_.number(0, max_sample_ms);
        } else if (key == "wait") {
            job_.wait = pairs_.number(0, max_wait);
        } else if (key == "reuse") {
            job_.reuse = pairs_.number(0, 1) == 1;
        } else if (key == "context") {
            job_.context = pairs_.number(0, max_count);
        } else if (key == "batch") {
            job_.batch = pairs_.number(0, max_count);
        } else if (key == "ubatch") {
            job_.ubatch = pairs_.number(0, max_count);
        } else if (key == "kernels") {
            const std::string & kernels = pairs_.value();
            if (kernels != "fast" && kernels != "stock") {
                pairs_.fail("the kernels are `" + kernels + "`, which is neither `fast` nor `stock`");
            }
            job_.fast_kernels = kernels == "fast";
        } else if (key == "threads_vision") {
            job_.threads_vision = pairs_.number(0, max_threads);
        } else if (key == "threads_prompt") {
            job_.threads_prompt = pairs_.number(0, max_threads);
        } else if (key == "threads_generate") {
            job_.threads_generate = pairs_.number(0, max_threads);
        } else if (key == "flash_attention") {
            job_.flash_attention = one_of({"auto", "on", "off"});
        } else if (key == "flash_attention_vision") {
            job_.flash_attention_vision = one_of({"auto", "on", "off"});
        } else if (key == "cache_type") {
            job_.cache_type = one_of({"f16", "q8_0", "f32"});
        } else if (key == "keep_text") {
            job_.keep_text = pairs_.number(0, 1) == 1;
        } else if (key == "imatrix") {
            job_.imatrix = pairs_.not_empty();
        } else {
            pairs_.fail("unknown key `" + key + "`");
        }
    }

    void read_step_key(Step & step) {
        const std::string & key = pairs_.key();
        if (key == "id") {
            step.id = pairs_.not_empty();
            if (!is_utf8(step.id)) { // or it would come back changed in the results
                pairs_.fail("the id is not UTF-8");
            }
            if (!ids_.insert(step.id).second) {
                pairs_.fail("the id `" + step.id + "` is used by an earlier step");
            }
        } else if (key == "image") {
            step.image = pairs_.not_empty();
        } else if (key == "prompt") {
            step.prompt = pairs_.value();
        } else if (key == "text_tokens") {
            step.text_tokens = pairs_.number(1, max_count);
        } else if (key == "side") {
            step.side = pairs_.number(1, max_side);
        } else if (key == "mode") {
            const std::string & mode = pairs_.value();
            if (mode != "squash" && mode != "pad") {
                pairs_.fail("the mode is `" + mode + "`, which is neither `squash` nor `pad`");
            }
            step.mode = mode == "pad" ? SquareMode::pad : SquareMode::squash;
        } else if (key == "max_tokens") {
            step.max_tokens = pairs_.number(0, max_count);
        } else if (key == "ignore_eog") {
            step.ignore_eog = pairs_.number(0, 1) == 1;
        } else if (key == "force") {
            step.force = pairs_.numbers(0, max_count);
        } else if (key == "embeddings") {
            step.embeddings = pairs_.not_empty();
        } else if (key == "logits") {
            step.logits = pairs_.not_empty();
        } else if (key == "pixels") {
            step.pixels = pairs_.not_empty();
        } else {
            pairs_.fail("unknown key `" + key + "` in a step");
        }
    }

    /// The value, which must be one of `words`.
    const std::string & one_of(const std::vector<std::string> & words) const {
        const std::string & value = pairs_.value();
        if (std::find(words.begin(), words.end(), value) == words.end()) {
            std::string allowed;
            for (const std::string & word : words) {
                allowed += (allowed.empty() ? "`" : ", `") + word + "`";
            }
            pairs_.fail("`" + pairs_.key() + "` is `" + value + "`, which is none of " + allowed);
        }
        return value;
    }

    /// Checks that the block that ends here has all it needs.
    void end_block() {
        if (!in_step_) {
            pairs_.require("model", "the job");
            if (job_.cache_type == "q8_0" && job_.flash_attention == "off") {
                pairs_.fail_block("the job's `cache_type` is `q8_0`, which needs flash attention, and its "
                                  "`flash_attention` is `off`");
            }
            if (job_.keep_text && !job_.imatrix.empty()) {
                pairs_.fail_block("the job has `keep_text` and `imatrix`, which counts what is decoded");
            }
            return;
        }
        for (const char * key : {"id", "prompt", "max_tokens"}) {
            pairs_.require(key, "the step");
        }
        const Step & step = job_.steps.back();
        if (pairs_.given("force") && int(step.force.size()) != step.max_tokens) {
            pairs_.fail_block("the step's `force` has " + std::to_string(step.force.size()) +
                              " tokens, and its max_tokens is " + std::to_string(step.max_tokens));
        }
        if (pairs_.given("image")) {
            pairs_.require("side", "the step, which has an image,");
            pairs_.require("mode", "the step, which has an image,");
            if (job_.mmproj.empty()) {
                pairs_.fail_block("the step has an image, and the job has no `mmproj`");
            }
        } else if (pairs_.given("embeddings") || pairs_.given("pixels")) {
            pairs_.fail_block("the step asks for `embeddings` or `pixels` and has no `image`");
        }
    }

    PairReader            pairs_;
    Job                   job_;
    bool                  in_step_ = false;
    std::set<std::string> ids_;
};

} // namespace

Job read_job(const std::string & path) {
    return JobReader(path).read();
}

} // namespace imp
