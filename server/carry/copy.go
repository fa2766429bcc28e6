package carry

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Source is one state of a destination's stores, which stays as it is.
type Source interface {
	// Count returns about how many rows of a kind there are.
	Count(ctx context.Context, k Kind) (int64, error)
	// Each calls f with each row of a kind, in the order of the kind, until f
	// returns an error, and returns that. Rows that cannot be what the store once
	// wrote are an error.
	Each(ctx context.Context, k Kind, f func(Row) error) error
}

// Sink is stores that are being made.
type Sink interface {
	// Put adds a row; rows of a kind come in its order.
	Put(ctx context.Context, k Kind, r Row) error
	// End ends a kind. Nothing else is put before the kind that follows.
	End(ctx context.Context, k Kind) error
}

// Summary is the number of rows of a kind, and a digest of all of them in whatever
// order: the sum of their hashes. It finds accidents, and no forgery.
type Summary struct {
	Rows   int64
	Digest [4]uint64
}

func (s *Summary) add(row []byte) {
	hash := sha256.Sum256(row)
	for i := range s.Digest {
		s.Digest[i] += binary.BigEndian.Uint64(hash[8*i:])
	}
	s.Rows++
}

// Progress is called now and then while rows of a kind are copied or verified, with
// how many rows of all kinds are done and how many there are: work has two halves,
// copying and reading again.
type Progress func(k Kind, done, all int64)

// progressEvery is after how many rows Progress is called.
const progressEvery = 1024

// Copy copies every row, and returns what it has copied by kind.
func Copy(ctx context.Context, from Source, to Sink, p Progress) ([]Summary, error) {
	c := copier{
		from:     from,
		progress: p,
	}
	if err := c.count(ctx); err != nil {
		return nil, err
	}
	return c.run(ctx, func(ctx context.Context, k Kind) (Summary, error) {
		s, err := c.kind(ctx, k, func(r Row) error { return to.Put(ctx, k, r) })
		if err == nil {
			err = to.End(ctx, k)
		}
		return s, err
	})
}

// Verify reads a copy, and compares it with what Copy returned.
func Verify(ctx context.Context, copied Source, want []Summary, p Progress) error {
	c := copier{
		from:     copied,
		progress: p,
	}
	for _, s := range want {
		c.done += s.Rows
	}
	c.all = 2 * c.done

	got, err := c.run(ctx, func(ctx context.Context, k Kind) (Summary, error) {
		return c.kind(ctx, k, func(Row) error { return nil })
	})
	if err != nil {
		return err
	}
	for k, s := range got {
		if s != want[k] {
			return fmt.Errorf(
				"%s: the copy has %d rows, and %d were copied, or they differ",
				Kind(k),
				s.Rows,
				want[k].Rows,
			)
		}
	}
	return nil
}

type copier struct {
	from      Source
	progress  Progress
	done, all int64
}

func (c *copier) count(ctx context.Context) error {
	for _, k := range Kinds() {
		n, err := c.from.Count(ctx, k)
		if err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
		c.all += 2 * n
	}
	return nil
}

func (c *copier) run(
	ctx context.Context, one func(context.Context, Kind) (Summary, error),
) ([]Summary, error) {
	all := make([]Summary, kinds)
	for _, k := range Kinds() {
		s, err := one(ctx, k)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
		all[k] = s
		c.show(k)
	}
	return all, nil
}

// kind passes f each row of a kind.
func (c *copier) kind(ctx context.Context, k Kind, f func(Row) error) (s Summary, err error) {
	var b []byte
	err = c.from.Each(ctx, k, func(r Row) error {
		if err := ctx.Err(); err != nil {
			return err
		}

		b = r.Append(b[:0])
		s.add(b)
		if c.done++; c.done%progressEvery == 0 {
			c.show(k)
		}
		return f(r)
	})
	return s, err
}

func (c *copier) show(k Kind) {
	if c.progress != nil {
		c.progress(k, c.done, max(c.all, c.done))
	}
}
