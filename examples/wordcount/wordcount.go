// Command wordcount counts the words of a text in four steps, each a job of its own:
//
//	wordcount split TEXT PARTS              cut a text into PARTS pieces:    part-0, part-1, …
//	wordcount count PART                    count the words of one piece:    counts.tsv
//	wordcount reduce COUNTS…                add the counts of all pieces:    counts.tsv
//	wordcount report COUNTS TOP LETTERS     rank the TOP most frequent words
//	                                        of at least LETTERS letters:     report.tsv
//
// Every step writes its results to /outputs, each file once and none in a sub-directory: a WASM job's
// output directory can do no more than that. The package fmt is left out on purpose: it is half of the
// module, and a node compiles the module anew for every job.
package main

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const outputs = "/outputs"

var errUsage = errors.New("usage: wordcount split TEXT PARTS | count PART | reduce COUNTS… | report COUNTS TOP LETTERS")

func main() {
	if err := run(os.Args[1:], outputs); err != nil {
		os.Stderr.WriteString("wordcount: " + err.Error() + "\n")
		os.Exit(1)
	}
}

// run performs one step and writes its results below out.
func run(args []string, out string) error {
	if len(args) < 2 {
		return errUsage
	}
	switch step, files := args[0], args[1:]; {
	case step == "split" && len(files) == 2:
		return split(files[0], files[1], out)
	case step == "count" && len(files) == 1:
		return count(files[0], out)
	case step == "reduce":
		return reduce(files, out)
	case step == "report" && len(files) == 3:
		return report(files[0], files[1], files[2], out)
	}
	return errUsage
}

func split(path, parts, out string) error {
	n, err := positive("PARTS", parts)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for i, part := range pieces(text, n) {
		if err := os.WriteFile(filepath.Join(out, "part-"+strconv.Itoa(i)), part, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func count(path, out string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return writeCounts(filepath.Join(out, "counts.tsv"), tally(string(text)))
}

func reduce(paths []string, out string) error {
	total := map[string]int{}
	for _, path := range paths {
		counts, err := readCounts(path)
		if err != nil {
			return err
		}
		for word, n := range counts {
			total[word] += n
		}
	}
	return writeCounts(filepath.Join(out, "counts.tsv"), total)
}

func report(path, top, letters, out string) error {
	n, err := positive("TOP", top)
	if err != nil {
		return err
	}
	shortest, err := positive("LETTERS", letters)
	if err != nil {
		return err
	}
	counts, err := readCounts(path)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "report.tsv"), ranking(counts, n, shortest), 0o644)
}

// pieces cuts text into n runs of whole lines of about the same size; the last may be empty.
func pieces(text []byte, n int) [][]byte {
	parts := make([][]byte, 0, n)
	for left := n; left > 0; left-- {
		end := endOfLine(text, len(text)/left)
		parts, text = append(parts, text[:end]), text[end:]
	}
	return parts
}

// endOfLine is the offset just behind the first newline at or after offset at.
func endOfLine(text []byte, at int) int {
	if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(text)
}

// tally counts words without regard to case. A word is a run of letters, apostrophes inside it included.
func tally(text string) map[string]int {
	counts := map[string]int{}
	for _, field := range strings.FieldsFunc(text, separates) {
		if word := strings.ToLower(strings.Trim(field, "'")); word != "" {
			counts[word]++
		}
	}
	return counts
}

func separates(r rune) bool {
	return !unicode.IsLetter(r) && r != '\''
}

// ranking lists the n most frequent words that are not too short: rank, word, count, and percent of all words.
func ranking(counts map[string]int, n, shortest int) []byte {
	total := 0
	var words []string
	for word, count := range counts {
		total += count
		if utf8.RuneCountInString(word) >= shortest {
			words = append(words, word)
		}
	}
	slices.SortFunc(words, func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	table := []byte("rank\tword\tcount\tpercent\n")
	for i, word := range words[:min(n, len(words))] {
		share := strconv.FormatFloat(100*float64(counts[word])/float64(total), 'f', 2, 64)
		table = append(table, strings.Join([]string{strconv.Itoa(i + 1), word, strconv.Itoa(counts[word]), share}, "\t")...)
		table = append(table, '\n')
	}
	return table
}

func writeCounts(path string, counts map[string]int) error {
	var table []byte
	for _, word := range slices.Sorted(maps.Keys(counts)) {
		table = append(table, word+"\t"+strconv.Itoa(counts[word])+"\n"...)
	}
	return os.WriteFile(path, table, 0o644)
}

func readCounts(path string) (map[string]int, error) {
	table, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for line := range strings.Lines(string(table)) {
		word, number, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		n, err := strconv.Atoi(number)
		if err != nil {
			return nil, errors.New(path + ": not a line of word, tab, count: " + strconv.Quote(line))
		}
		counts[word] = n
	}
	return counts, nil
}

func positive(name, value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return 0, errors.New(name + " must be a positive number, not " + strconv.Quote(value))
	}
	return n, nil
}
