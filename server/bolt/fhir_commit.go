package bolt

import (
	"fmt"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir"
)

// job is one update that waits for a commit.
type job struct {
	f    func(fhir.Change) error
	err  error
	done chan error
}

// commitLoop does updates in shared commits: each takes all that came while
// the one before was being written. No timer is needed for that.
func (s *FHIR) commitLoop() {
	defer close(s.stopped)
	for first := range s.jobs {
		s.commit(s.gather(first))
	}
}

func (s *FHIR) gather(first *job) []*job {
	jobs := []*job{first}
	for len(jobs) < maxShared {
		select {
		case j, ok := <-s.jobs:
			if !ok {
				return jobs
			}
			jobs = append(jobs, j)
		default:
			return jobs
		}
	}

	return jobs
}

// commit does the jobs in one transaction. A job that fails after it has
// changed something undoes the transaction; the others are then done again
// without it.
func (s *FHIR) commit(jobs []*job) {
	for len(jobs) > 0 {
		spoiler := -1
		err := s.db.Update(func(tx *bbolt.Tx) error {
			st := newState(tx)
			for i, j := range jobs {
				if j.err = j.run(st); j.err != nil && st.wrote {
					spoiler = i
					return j.err
				}
				st.wrote = false
			}

			return st.settle()
		})

		if spoiler < 0 {
			finish(jobs, err)
			return
		}

		jobs[spoiler].done <- jobs[spoiler].err
		jobs = append(jobs[:spoiler], jobs[spoiler+1:]...)
	}
}

func finish(jobs []*job, err error) {
	for _, j := range jobs {
		if err != nil {
			j.err = fmt.Errorf("store: commit: %w", err)
		}
		j.done <- j.err
	}
}

// run does the job's changes; a panic of one request must not end the others.
func (j *job) run(st *state) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("store: update panicked: %v", p)
		}
	}()
	return j.f(st)
}
