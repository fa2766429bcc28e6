package bolt

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/stored"
)

// Bounds of the index of used jti.
const (
	maxSpent    = oauth.MaxSpent       // entries
	spentRecord = stored.KeyLength + 4 // key, second of first use; the endpoint's name follows
)

// spentUse is when and where a jti was first used.
type spentUse struct {
	second   uint32 // Unix time
	endpoint uint8  // index into spentIndex.endpoints
}

// spentIndex knows every live jti, by the minute up to which it is remembered. An
// entry is made before its effect is committed and stays when the commit
// fails: nobody knows then what reached the disk.
type spentIndex struct {
	mu        sync.Mutex // guards all below
	minutes   map[uint32]map[stored.JTI]spentUse
	count     int
	floor     uint32          // jti of this minute and earlier are forgotten
	restored  int64           // Unix time of the last restore from a backup; 0: never
	endpoints []string        // a handful of names
	unsure    map[uint32]bool // minutes with a row that could not be read
}

func newSpentIndex(floor uint32, restored int64) *spentIndex {
	return &spentIndex{
		minutes:  map[uint32]map[stored.JTI]spentUse{},
		unsure:   map[uint32]bool{},
		floor:    floor,
		restored: restored,
	}
}

// restoredMark is how the file keeps the moment of a restore.
func restoredMark(second int64) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(second))
}

func floorOf(v []byte) uint32 {
	if len(v) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(v)
}

func restoredAt(mark []byte) int64 {
	if len(mark) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(mark))
}

// reserve marks a jti as used, or returns when it was.
func (x *spentIndex) reserve(k stored.JTI, s oauth.Spend) error {
	minute := stored.MinuteSpent(s)
	x.mu.Lock()
	defer x.mu.Unlock()

	if minute <= x.floor || x.restored > s.Now.Add(oauth.MaxSkew).Unix() {
		return oauth.ErrSwept
	}

	free := stored.MinuteFree(s)
	for ends, m := range x.minutes {
		if use, found := m[k]; found && ends >= free {
			return &oauth.Replayed{
				Seen:     time.Unix(int64(use.second), 0),
				Endpoint: x.endpoints[use.endpoint],
			}
		}
	}

	if x.restored > 0 && s.Since.Unix() <= x.restored {
		return oauth.ErrRestored
	}
	if x.unsure[minute] {
		return fmt.Errorf("used jti of that minute: %w", oauth.ErrDamaged)
	}
	if x.count >= maxSpent {
		return oauth.ErrFull
	}

	x.add(minute, k, spentUse{
		second:   uint32(s.Now.Unix()),
		endpoint: x.endpoint(s.Endpoint),
	})
	return nil
}

func (x *spentIndex) add(minute uint32, k stored.JTI, use spentUse) {
	m := x.minutes[minute]
	if m == nil {
		m = map[stored.JTI]spentUse{}
		x.minutes[minute] = m
	}
	m[k] = use
	x.count++
}

// endpoint returns the number of a name; when all numbers are taken, the last one.
func (x *spentIndex) endpoint(name string) uint8 {
	for i, known := range x.endpoints {
		if known == name || i == 255 {
			return uint8(i)
		}
	}
	x.endpoints = append(x.endpoints, name)
	return uint8(len(x.endpoints) - 1)
}

// release undoes a reservation: its effect was refused and nothing of it
// was written.
func (x *spentIndex) release(k stored.JTI, s oauth.Spend) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if m := x.minutes[stored.MinuteSpent(s)]; m != nil {
		if _, found := m[k]; found {
			delete(m, k)
			x.count--
		}
	}
}

// forget drops every minute up to floor.
func (x *spentIndex) forget(floor uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for minute, m := range x.minutes {
		if minute <= floor {
			x.count -= len(m)
			delete(x.minutes, minute)
		}
	}

	x.floor = max(x.floor, floor)
}

func (x *spentIndex) floorNow() uint32 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.floor
}

func (x *spentIndex) live() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.count
}

// spentRow is what the file holds of a used jti.
func spentRow(k stored.JTI, s oauth.Spend) []byte {
	v := make([]byte, 0, spentRecord+len(s.Endpoint)+checksum)
	v = append(v, k[:]...)
	v = binary.BigEndian.AppendUint32(v, uint32(s.Now.Unix()))
	return append(v, s.Endpoint...)
}

// loadSpent reads the index from the file and returns the highest number. A row
// that cannot be read may be of a jti that somebody then could use again: so
// every JWT that ends in that minute is refused and, when the minute itself is
// in doubt, every JWT that could have been accepted until now.
func (t *Trust) loadSpent(root *bbolt.Bucket) (last uint64, err error) {
	x := t.spent
	sound := map[uint32]bool{}
	err = eachMinute(root, spentRows, func(minute uint32, key uint64, v []byte, ok bool) error {
		last = max(last, key)
		if !ok || len(v) < spentRecord {
			_ = t.damaged(spentBucket, number(key), "is no used jti")
			x.unsure[minute] = true
			return nil
		}

		sound[minute] = true
		if minute > x.floor {
			x.add(minute, stored.JTI(v), spentUse{
				second:   binary.BigEndian.Uint32(v[stored.KeyLength:]),
				endpoint: x.endpoint(string(v[spentRecord:])),
			})
		}

		return nil
	})

	for minute := range x.unsure {
		if !sound[minute] {
			x.restored = max(x.restored, time.Now().Unix())
		}
	}

	return last, err
}

func eachMinute(
	root *bbolt.Bucket, r rows, visit func(minute uint32, key uint64, v []byte, sound bool) error,
) error {
	return root.ForEachBucket(func(name []byte) error {
		within := r.within(name)
		return root.Bucket(name).ForEach(func(k, sealed []byte) error {
			v, ok := within.open(k, sealed)
			var minute [4]byte
			var key [8]byte
			copy(minute[:], name)
			copy(key[:], k)

			return visit(
				binary.BigEndian.Uint32(minute[:]),
				binary.BigEndian.Uint64(key[:]),
				v,
				ok,
			)
		})
	})
}

// proofUse is the jti of a DPoP proof that is used up with that of a JWT; without a
// spend there is none.
type proofUse struct {
	spend *oauth.Spend
	key   stored.JTI
	err   error // why it could not be reserved
}

// reserveProof reserves the jti of a proof, if there is one.
func (x *spentIndex) reserveProof(s *oauth.Spend) proofUse {
	if s == nil {
		return proofUse{}
	}

	u := proofUse{
		spend: s,
		key:   stored.JTIOf(*s),
	}
	u.err = x.reserve(u.key, *s)
	return u
}

// check returns why the proof cannot be used up now.
func (u proofUse) check() error {
	if u.err == nil && u.spend != nil && u.spend.Expired() {
		return oauth.ErrExpired
	}
	return u.err
}

// put writes the reserved jti of a proof.
func (u proofUse) put(t *Trust, b *trustBatch) error {
	if u.spend == nil || u.err != nil {
		return nil
	}
	return t.putSpent(b, u.key, *u.spend)
}

// releaseProof undoes a reservation.
func (x *spentIndex) releaseProof(u proofUse) {
	if u.spend != nil && u.err == nil {
		x.release(u.key, *u.spend)
	}
}
