package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWordsAreRunsOfLettersInAnyCase(t *testing.T) {
	got := tally("The _Rays_; the rays of Phænomena, publish'd 'twixt 1704 and '' ÆTHER.")
	want := map[string]int{"the": 2, "rays": 2, "of": 1, "phænomena": 1, "publish'd": 1, "twixt": 1, "and": 1, "æther": 1}
	if !maps.Equal(got, want) {
		t.Errorf("tally: got %v, want %v", got, want)
	}
}

func TestPiecesAreWholeLinesAndLoseNothing(t *testing.T) {
	for _, text := range []string{"", "one line without an end", "a\n", strings.Repeat("light is bent\n", 101)} {
		for n := 1; n <= 7; n++ {
			parts := pieces([]byte(text), n)
			joined := ""
			for _, part := range parts {
				if len(part) > 0 && joined != "" && !strings.HasSuffix(joined, "\n") {
					t.Errorf("%d pieces of %q: cut inside a line", n, text)
				}
				joined += string(part)
			}
			if len(parts) != n || joined != text {
				t.Errorf("%d pieces of %q: got %d, which join to %q", n, text, len(parts), joined)
			}
		}
	}
}

func TestPiecesAreOfAboutTheSameSize(t *testing.T) {
	for i, part := range pieces([]byte(strings.Repeat("light\n", 400)), 4) {
		if len(part) < 590 || len(part) > 610 {
			t.Errorf("piece %d: %d bytes of 2400 in 4 pieces", i, len(part))
		}
	}
}

func TestTheRankingIsByCountThenByWord(t *testing.T) {
	got := string(ranking(map[string]int{"light": 2, "colour": 1, "angle": 1, "æthers": 1, "ray": 3}, 3, 5))
	want := "rank\tword\tcount\tpercent\n1\tlight\t2\t25.00\n2\tangle\t1\t12.50\n3\tcolour\t1\t12.50\n"
	if got != want {
		t.Errorf("ranking: got %q, want %q", got, want)
	}
}

func TestTheStepsTogetherCountTheWholeText(t *testing.T) {
	const text = "Opticks.txt"
	whole, parts := t.TempDir(), t.TempDir()
	step(t, whole, "count", text)
	step(t, parts, "split", text, "3")
	reduce := []string{"reduce"}
	for _, name := range []string{"part-0", "part-1", "part-2"} {
		counted := t.TempDir()
		step(t, counted, "count", filepath.Join(parts, name))
		reduce = append(reduce, filepath.Join(counted, "counts.tsv"))
	}
	reduced := t.TempDir()
	step(t, reduced, reduce...)
	if read(t, reduced) != read(t, whole) {
		t.Error("the counts of the pieces do not add up to those of the whole text")
	}
}

func TestWrongArgumentsAreRefused(t *testing.T) {
	for _, args := range [][]string{{}, {"split"}, {"split", "text"}, {"count", "a", "b"}, {"sort", "a"}} {
		if err := run(args, t.TempDir()); err != errUsage {
			t.Errorf("%v: got %v, want the usage", args, err)
		}
	}
	for _, args := range [][]string{{"split", "Opticks.txt", "0"}, {"report", "Opticks.txt", "ten", "5"}, {"report", "Opticks.txt", "10", "5"}} {
		if err := run(args, t.TempDir()); err == nil || err == errUsage {
			t.Errorf("%v: got %v, want what is wrong", args, err)
		}
	}
}

func step(t *testing.T, out string, args ...string) {
	t.Helper()
	if err := run(args, out); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

func read(t *testing.T, dir string) string {
	t.Helper()
	table, err := os.ReadFile(filepath.Join(dir, "counts.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	return string(table)
}
