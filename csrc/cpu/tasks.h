// Work handed out task by task to the caller's threads, each of which has scratch of its own.
//
// A thread takes the next task when it is done with one, so one that is held up holds up nobody. Who gets which task is
// chance: no result may depend on it.
#ifndef STRF_CPU_TASKS_H
#define STRF_CPU_TASKS_H

#include "plan.h"

namespace {

inline int64_t parts_for(const strf_plan& plan, int64_t tasks) { return tasks < plan.parts ? tasks : plan.parts; }

// Calls body(task, part) once for every task; part says whose scratch to use.
template <class Body>
void for_each_task(const strf_plan& plan, const strf_threads& threads, int64_t tasks, const Body& body) {
  struct Work {
    const Body& body;
    int64_t tasks, next;
  } work{body, tasks, 0};
  const auto run = [](int64_t first, int64_t last, void* context) {
    Work& work = *static_cast<Work*>(context);
    for (int64_t part = first; part < last; ++part)
      for (;;) {
        const int64_t task = __atomic_fetch_add(&work.next, 1, __ATOMIC_RELAXED);
        if (task >= work.tasks) break;
        work.body(task, part);
      }
  };
  const int64_t parts = parts_for(plan, tasks);
  if (parts > 1)
    threads.run(parts, run, &work);
  else if (parts == 1)
    run(0, 1, &work);
}

}  // namespace

#endif
