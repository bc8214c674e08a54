#include "plan.h"

#include "pairs.h"
#include "utf8.h"

#include <set>

namespace imp {

namespace {

constexpr int max_seconds = 1000000; // days
constexpr int max_celsius = 150;

void read_plan_key(const PairReader & pairs, Plan & plan) {
    const std::string & key = pairs.key();
    if (key == "timeout") {
        plan.timeout = pairs.decimal(1, max_seconds);
    } else if (key == "rest_celsius") {
        plan.rest_celsius = pairs.decimal(0, max_celsius);
    } else if (key == "rest_seconds") {
        plan.rest_seconds = pairs.decimal(0, max_seconds);
    } else if (key == "note") {
        plan.note = pairs.not_empty();
    } else {
        pairs.fail("unknown key `" + key + "`");
    }
}

void read_run_key(const PairReader & pairs, Run & run) {
    const std::string & key = pairs.key();
    std::string *       place = key == "id"      ? &run.id
                                : key == "group" ? &run.group
                                : key == "job"   ? &run.job
                                : key == "out"   ? &run.out
                                                 : nullptr;
    if (place == nullptr) {
        pairs.fail("unknown key `" + key + "` in a run");
    }
    *place = pairs.not_empty();
}

void end_block(const PairReader & pairs, const Plan & plan, std::set<std::string> & ids) {
    if (plan.runs.empty()) {
        pairs.require("timeout", "the plan");
        return;
    }
    for (const char * key : {"id", "group", "job", "out"}) {
        pairs.require(key, "the run");
    }
    const std::string & id = plan.runs.back().id;
    if (!is_utf8(id)) { // or it would come back changed in the log
        pairs.fail_block("the id is not UTF-8");
    }
    if (!ids.insert(id).second) {
        pairs.fail_block("the id `" + id + "` is used by an earlier run");
    }
}

} // namespace

Plan read_plan(const std::string & path) {
    PairReader            pairs(path, "imp-plan 1");
    Plan                  plan;
    std::set<std::string> ids;
    while (pairs.next()) {
        if (pairs.is("run")) {
            end_block(pairs, plan, ids);
            plan.runs.emplace_back();
            pairs.begin_block();
            continue;
        }
        pairs.once();
        if (plan.runs.empty()) {
            read_plan_key(pairs, plan);
        } else {
            read_run_key(pairs, plan.runs.back());
        }
    }
    end_block(pairs, plan, ids);
    if (plan.runs.empty()) {
        pairs.fail("the plan has no run");
    }
    return plan;
}

} // namespace imp
