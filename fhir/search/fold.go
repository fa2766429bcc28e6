package search

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxFolded bounds how much of a text is folded for the index, which has its
// first maxText bytes only.
const maxFolded = 4 << 10

// folded is text as R4 compares it: without regard to case, accents,
// punctuation and how white space is written (R4 search 3.1.1.4.8). What is
// between two words, such as the hyphen of a double name, may be searched for
// as a space or left out: there are two forms.
type folded struct {
	spaced string // "smith jones"
	joined string // "smithjones"; the same where nothing is left out
}

// letters has the ones that are written with a mark and yet have no
// decomposition in Unicode, and those with more than one lower case.
var letters = map[rune]string{
	'æ': "ae", 'đ': "d", 'ð': "d", 'ħ': "h", 'ı': "i", 'ĸ': "k", 'ł': "l", 'ŋ': "n", 'ø': "o", 'œ': "oe",
	'ŧ': "t", 'þ': "th", 'ß': "ss", 'ƶ': "z", 'ς': "σ",
}

// apostrophes are left out in both forms: O'Neil is oneil.
const apostrophes = "'’‘ʼ`´′"

// fold folds text whole.
func fold(s string) folded {
	f := folder{}
	f.spaced.Grow(len(s))
	f.joined.Grow(len(s))
	if isASCII(s) {
		for i := 0; i < len(s); i++ {
			f.ascii(s[i])
		}
		return f.result(s)
	}

	for _, r := range norm.NFKD.String(s) {
		if r = unicode.ToLower(r); !accent(r) {
			f.add(r)
		}
	}

	return f.result(s)
}

// accent reports whether r is a mark that makes no other letter of the one
// before it. The vowel signs of Indic scripts (class 0), viramas (9) and the
// marks that voice a kana (8) do.
func accent(r rune) bool {
	if r < 0x300 || !unicode.Is(unicode.Mn, r) {
		return false
	}
	var b [utf8.UTFMax]byte
	class := norm.NFD.Properties(b[:utf8.EncodeRune(b[:], r)]).CCC()
	return class != 0 && class != 8 && class != 9
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// folder builds both forms.
type folder struct {
	spaced, joined strings.Builder
	gap            bool // white space is due before the next letter
	mark           bool // punctuation that parts two words is due in the spaced form
	differ         bool
	marks          bool // beyond ASCII, so that letters may have to be composed again
}

func (f *folder) ascii(c byte) {
	switch {
	case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
		f.letter(rune(c))
	case c >= 'A' && c <= 'Z':
		f.letter(rune(c) + 'a' - 'A')
	default:
		f.add(rune(c))
	}
}

func (f *folder) add(r rune) {
	switch {
	case unicode.IsSpace(r) || r < ' ':
		f.gap = true
	case strings.ContainsRune(apostrophes, r):
	case unicode.IsPunct(r):
		f.mark = true
	default:
		f.letter(r)
	}
}

func (f *folder) letter(r rune) {
	if f.spaced.Len() > 0 && (f.gap || f.mark) {
		f.spaced.WriteByte(' ')
		if f.gap {
			f.joined.WriteByte(' ')
		} else {
			f.differ = true
		}
	}

	f.gap = false
	f.mark = false

	if r < utf8.RuneSelf {
		f.spaced.WriteByte(byte(r))
		f.joined.WriteByte(byte(r))
		return
	}
	if plain, ok := letters[r]; ok {
		f.spaced.WriteString(plain)
		f.joined.WriteString(plain)
		return
	}

	f.marks = true
	f.spaced.WriteRune(r)
	f.joined.WriteRune(r)
}

// result returns both forms; of text that is nothing but punctuation, the text.
func (f *folder) result(s string) folded {
	spaced, joined := f.spaced.String(), f.joined.String()
	if spaced == "" {
		spaced = strings.Join(
			strings.Fields(clean(strings.ToLower(norm.NFC.String(s)))),
			" ",
		)
		joined = spaced
	}
	if f.marks {
		spaced, joined = norm.NFC.String(spaced), norm.NFC.String(joined)
	}

	if !f.differ {
		joined = spaced
	}
	return folded{spaced, joined}
}

// forms are the distinct forms.
func (f folded) forms() []string {
	if f.joined == f.spaced {
		return []string{f.spaced}
	}
	return []string{f.spaced, f.joined}
}

// maxWords bounds the words of one name that are found by themselves.
const maxWords = 16

// words are the ends of a name that begin with its second, third, ... word:
// "Garcia Lopez" is found by Lopez too (R4 datatypes 2.24.0.13, HumanName).
func (f folded) words() []string {
	var all []string
	for _, form := range f.forms() {
		for i := 0; len(all) < maxWords; {
			n := strings.IndexByte(form[i:], ' ')
			if n < 0 {
				break
			}

			i += n + 1
			all = append(all, form[i:])
		}
	}

	return all
}
