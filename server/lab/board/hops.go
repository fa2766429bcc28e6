package board

import (
	"bytes"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-json-experiment/json"

	"fhirdest.example/gateway/evidence"
	"fhirdest.example/udap/conform"
)

// maxEvidence is how many bytes of the end of an evidence file are searched.
const maxEvidence = 4 << 20

// hop is one place that an exchange passed, with the digests of its messages there.
type hop struct {
	Name    string
	Request digestAt
	Answer  digestAt
	Own     bool // it is the destination, with which the others are compared
	Mapped  bool // its route has another prefix on the other side
}

// digestAt is the digest of a message at one place.
type digestAt struct {
	SHA256 string
	Bytes  int64
	Same   bool // as at the destination
}

// journey is an exchange at each hop, in words and digests.
type journey struct {
	Hops  []hop
	Whole bool // every file has both messages, each unchanged
	Text  string
}

// travel looks for the messages of an exchange in the evidence of the other hops.
// The destination's own digests are those of the exchange.
func travel(files []string, x *conform.Exchange) *journey {
	j := &journey{}
	if x.Request.SHA256 == "" {
		j.Text = "this exchange has no digest of its own, so it cannot be compared with the other hops"
		return j
	}

	missing, changed, mapped := 0, 0, 0
	for _, file := range files {
		h, ok := search(file, x)
		if !ok {
			missing++
			continue
		}

		j.Hops = append(j.Hops, h)
		switch {
		case h.Mapped && h.Answer.Same:
			mapped++
		case !h.Request.Same || !h.Answer.Same:
			changed++
		}
	}

	j.Hops = append(j.Hops, hop{
		Name: "destination",
		Own:  true,
		Request: digestAt{
			SHA256: x.Request.SHA256,
			Bytes:  x.Request.Length,
		},
		Answer: digestAt{
			SHA256: x.Answer.SHA256,
			Bytes:  x.Answer.Length,
		},
	})

	switch {
	case len(files) == 0:
		j.Text = "no evidence of other hops is configured (lab.evidence)"
	case changed > 0:
		j.Text = "a hop sent other bytes than it got"
	case missing == len(files):
		j.Text = "no other hop has seen these bytes: the request came straight, or its line is not written yet"
	case missing > 0:
		j.Text = "some hops have not seen these bytes, or have not written their lines yet; reload the page"

	case mapped > 0:
		j.Text = "a hop replaced prefix and host of the request, as its route has it, and passed the answer as it was"
	default:
		j.Whole = true
		j.Text = "nothing between took part: every hop passed exactly these bytes"
	}

	return j
}

// search looks for an exchange in the end of one evidence file.
func search(file string, x *conform.Exchange) (h hop, ok bool) {
	h.Name = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	data, err := ending(file)
	if err != nil {
		return h, false
	}

	line := lineWith(data, x.Request.SHA256, "request")
	if line == nil {
		return h, false
	}

	h.Name = shorten(line.Hop, 60)
	h.Request = digestAt{
		SHA256: line.SHA256In,
		Bytes:  line.BytesIn,
		Same:   line.SHA256In == line.SHA256Out,
	}

	h.Mapped = line.Mapped

	if answer := lineWith(data, x.Answer.SHA256, "response"); answer != nil {
		h.Answer = digestAt{
			SHA256: answer.SHA256Out,
			Bytes:  answer.BytesOut,
			Same:   answer.SHA256In == answer.SHA256Out,
		}
	}

	return h, h.Answer.SHA256 != ""
}

// ending returns the last whole lines of a file.
func ending(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()

	st, err := f.Stat()
	if err != nil {
		return nil, err
	}

	from := max(0, st.Size()-maxEvidence)
	data := make([]byte, st.Size()-from)
	n, err := io.ReadFull(io.NewSectionReader(f, from, int64(len(data))), data)
	if err != nil && n == 0 {
		return nil, err
	}

	data = data[:n]
	if from > 0 {
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	return data, nil
}

// lineWith returns the last line with a digest in one direction, or nil.
func lineWith(data []byte, sum, dir string) *evidence.Line {
	if _, err := hex.DecodeString(sum); err != nil || sum == "" {
		return nil
	}

	for {
		i := bytes.LastIndex(data, []byte(sum))
		if i < 0 {
			return nil
		}

		start := bytes.LastIndexByte(data[:i], '\n') + 1
		end := len(data)
		if n := bytes.IndexByte(data[i:], '\n'); n >= 0 {
			end = i + n
		}

		var line evidence.Line
		if json.Unmarshal(data[start:end], &line) == nil && line.Dir == dir {
			return &line
		}
		data = data[:start]
	}
}
