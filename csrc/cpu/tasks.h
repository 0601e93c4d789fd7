// Work cut into equal parts for the caller's threads; each part has scratch of its own.
#ifndef STRF_CPU_TASKS_H
#define STRF_CPU_TASKS_H

#include "plan.h"

namespace {

inline int64_t parts_for(const strf_plan& plan, int64_t tasks) { return tasks < plan.parts ? tasks : plan.parts; }

// Calls body(task, part) for every task; the tasks of a part run in order.
template <class Body>
void for_each_task(const strf_plan& plan, const strf_threads& threads, int64_t tasks, const Body& body) {
  struct Work {
    const Body& body;
    int64_t tasks, parts;
  } work{body, tasks, parts_for(plan, tasks)};
  const auto run = [](int64_t first, int64_t last, void* context) {
    const Work& work = *static_cast<const Work*>(context);
    for (int64_t part = first; part < last; ++part)
      for (int64_t task = part * work.tasks / work.parts; task < (part + 1) * work.tasks / work.parts; ++task)
        work.body(task, part);
  };
  if (work.parts > 1)
    threads.run(work.parts, run, &work);
  else if (work.parts == 1)
    run(0, 1, &work);
}

}  // namespace

#endif
