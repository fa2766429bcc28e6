package asynctest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"fhirdest.example/fhir/async"
)

// long is a lease that no test outlives.
const long = time.Hour

func claims(t *testing.T, sub Subject) {
	for i, client := range []string{"c1", "c1", "c2"} {
		create(t, sub.Store, Job(fmt.Sprint("j", i), client, noon.Add(time.Duration(i)*time.Second)), wide)
	}

	for i, step := range []struct {
		busy []string
		want string
	}{
		{[]string{"c1"}, "j2"},
		{nil, "j0"},
		{[]string{"c1", "c2"}, ""},
		{[]string{"c2"}, "j1"},
		{nil, ""},
	} {
		job, err := sub.any(i).Claim(t.Context(), long, step.busy)
		if step.want == "" {
			if !errors.Is(err, async.ErrNoJob) {
				t.Errorf("step %d: %v %q", i, err, job.ID)
			}
			continue
		}
		if err != nil || job.ID != step.want || job.State != async.Running || job.Attempts != 1 {
			t.Errorf("step %d: %v %+v", i, err, job)
		}
	}

	err := sub.Store.Update(t.Context(), "j1", func(j *async.Job) error { // it was interrupted
		j.State = async.Pending
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if job, err := sub.any(1).Claim(t.Context(), long, nil); err != nil || job.ID != "j1" || job.Attempts != 2 {
		t.Errorf("a job that is pending again: %v %+v", err, job)
	}
}

func claimsTogether(t *testing.T, sub Subject) {
	const n = 12
	for i := range n {
		create(t, sub.Store, Job(fmt.Sprint("j", i), "c1", noon), wide)
	}

	var work sync.WaitGroup
	var mu sync.Mutex
	var got []string
	for i := range n {
		work.Go(func() {
			for {
				job, err := sub.any(i).Claim(context.Background(), long, nil)
				if errors.Is(err, async.ErrNoJob) {
					return
				}
				mu.Lock()
				got = append(got, fmt.Sprint(job.ID, err))
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	work.Wait()

	slices.Sort(got)
	if len(got) != n || len(slices.Compact(got)) != n {
		t.Errorf("%d jobs were claimed as %v", n, got)
	}
}

// again claims the one job once its lease has ended.
func again(t *testing.T, s async.Store) async.Job {
	t.Helper()
	for range 3000 {
		job, err := s.Claim(t.Context(), long, nil)
		if err == nil {
			return job
		}
		if !errors.Is(err, async.ErrNoJob) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the lease does not end")
	return async.Job{}
}

// attempt is the latest attempt at a job.
func attempt(j async.Job) async.Attempt {
	return async.Attempt{
		Job:    j.ID,
		Client: j.Asked.Grant.Client,
		Number: j.Attempts,
	}
}

func leases(t *testing.T, sub Subject) {
	create(t, sub.Store, Job("a", "c1", noon), wide)
	first, err := sub.Store.Claim(t.Context(), time.Millisecond, nil)
	if err != nil {
		t.Fatal(err)
	}

	second := again(t, sub.any(1))
	if second.ID != "a" || second.Attempts != 2 {
		t.Errorf("%+v", second)
	}
	if err := sub.Store.Renew(t.Context(), attempt(first), long, ""); !errors.Is(err, async.ErrTaken) {
		t.Errorf("the first attempt is renewed: %v", err)
	}
	if err := sub.any(1).Renew(t.Context(), attempt(second), long, "half"); err != nil {
		t.Errorf("the second attempt: %v", err)
	}
	if job, err := sub.Store.Job(t.Context(), "a"); err != nil || job.Progress != "half" {
		t.Errorf("%v, progress %q", err, job.Progress)
	}

	if err := sub.Store.Remove(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := sub.any(1).Renew(t.Context(), attempt(second), long, ""); !errors.Is(err, async.ErrNoJob) {
		t.Errorf("a job that was removed: %v", err)
	}
}

func renewals(t *testing.T, sub Subject) {
	create(t, sub.Store, Job("a", "c1", noon), wide)
	job, err := sub.Store.Claim(t.Context(), time.Millisecond, nil)
	if err != nil {
		t.Fatal(err)
	}

	// Nobody has claimed it since: it may go on.
	if err := sub.Store.Renew(t.Context(), attempt(job), long, ""); err != nil {
		t.Errorf("renewed late: %v", err)
	}
	if job, err := sub.any(1).Claim(t.Context(), long, nil); !errors.Is(err, async.ErrNoJob) {
		t.Errorf("claimed after that: %v %+v", err, job)
	}

	err = sub.Store.Update(t.Context(), "a", func(j *async.Job) error {
		j.State, j.Ended, j.Expires = async.Done, noon, noon
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.Store.Renew(t.Context(), attempt(job), long, ""); !errors.Is(err, async.ErrTaken) {
		t.Errorf("a job that has ended: %v", err)
	}
}

func over(t *testing.T, sub Subject) {
	for i, id := range []string{"a", "b", "c"} {
		create(t, sub.Store, Job(id, "c1", noon), wide)
		if id == "c" {
			continue // it has not ended
		}
		err := sub.Store.Update(t.Context(), id, func(j *async.Job) error {
			j.State, j.Ended, j.Expires = async.Done, noon, noon.Add(time.Duration(i)*time.Hour)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}

	for i, step := range []struct {
		at   time.Time
		want []string
	}{
		{noon.Add(-time.Second), nil},
		{noon, []string{"a"}},
		{noon.Add(2 * time.Hour), []string{"a", "b"}},
	} {
		ids, err := sub.any(i).Over(t.Context(), step.at)
		slices.Sort(ids)
		if err != nil || !slices.Equal(ids, step.want) {
			t.Errorf("%v: %v %v, want %v", step.at, err, ids, step.want)
		}
	}
}
