package filecopy

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filetree"
)

// instruction reads a COPY as a Dockerfile has it, without variables, heredocs and names of users.
func instruction(t testing.TB, src *filetree.Tree, text string) Spec {
	t.Helper()
	spec := Spec{ModTime: 9e9}
	var paths []string
	for _, word := range strings.Fields(text) {
		flag, value, _ := strings.Cut(word, "=")
		switch flag {
		case "--chown":
			u, g, _ := strings.Cut(value, ":")
			spec.Owner = &Owner{UID: uint32(number(t, u, 10)), GID: uint32(number(t, g, 10))}
		case "--chmod":
			var err error
			if spec.Mode, err = ParseMode(value); err != nil {
				t.Fatal(err)
			}
		case "--exclude":
			spec.Exclude = append(spec.Exclude, value)
		case "--parents":
			spec.Layout = effect.LayoutParents
		case "--link":
			spec.Overlay = effect.OverlayLinked
		default:
			paths = append(paths, word)
		}
	}
	last := len(paths) - 1
	spec.Dest = paths[last]
	spec.Sources = []Source{{Name: "the build context", Tree: src, Paths: paths[:last]}}
	return spec
}

type planTest struct {
	dst, src, copy string
	want           string // the layer
	err            string // a part of the error
}

var planTests = map[string]planTest{
	// Row 1.
	"missing destination directory": {
		src: "d s 700 3:4 @5\nf s/x 600 3:4 @6 =x", copy: "s /a/b",
		want: "d a @9\nd a/b @5\nf a/b/x 600 3:4 @6 =x",
	},
	"missing destination directory with owner": {
		src: "d s 700 3:4 @5\nd s/y 711\nf s/x 600 3:4 @6 =x", copy: "--chown=7:8 s /a/b/",
		want: "d a 7:8 @9\nd a/b 7:8 @5\nf a/b/x 600 7:8 @6 =x\nd a/b/y 711 7:8",
	},
	"missing directory below a setgid one with owner": {
		dst: "d a 2755 5:6", src: "f x =x", copy: "--chown=7:8 x /a/b/",
		want: "d a 2755 5:6\nd a/b 2755 7:8 @9\nf a/b/x 7:8 =x",
	},
	// Row 2.
	"existing destination directory keeps mode and owner": {
		dst: "d a 700 5:5 @2\nf a/old\nd a/n 711 5:5 @2", src: "d s 750 3:4 @7\nd s/n 2755 3:4 @8\nf s/n/x =x", copy: "s /a",
		want: "d a 700 5:5 @7\nd a/n 2755 3:4 @8\nf a/n/x =x",
	},
	"nothing but a directory's time": {dst: "d a @2\nd a/n", src: "d s @3\nd s/n @4", copy: "s /a", want: ""},
	"an empty directory is made":     {src: "d s @3", copy: "s /a", want: "d a @3"},
	// Row 3.
	"owners of another stage": {src: "f x 644 3:4 =x", copy: "x /", want: "f x 3:4 =x"},
	// Row 4.
	"destination is a link to a directory":    {dst: "d r 711 5:5\nl a >/r", src: "d s\nf s/x =x", copy: "s /a", want: "d r 711 5:5\nf r/x =x"},
	"destination is a link to a missing one":  {dst: "l a >/r/q", src: "d s\nf s/x =x", copy: "s /a", want: "d r @9\nd r/q\nf r/q/x =x"},
	"destination is a link to a file":         {dst: "f r =old\nl a >r", src: "f x =x", copy: "x /a", want: "f r =x"},
	"parent of the destination is a link":     {dst: "d r\nl a >r", src: "f x =x", copy: "x /a/b/c", want: "d r\nd r/b @9\nf r/b/c =x"},
	"a link that leads up does not leave":     {dst: "l a >../../../r", src: "f x =x", copy: "x /a/", want: "d r @9\nf r/x =x"},
	"a link that leads back to a link":        {dst: "d r\nl a >missing/../b\nl b >r", src: "f x =x", copy: "x /a/", want: "d r\nf r/x =x"},
	"file over link replaces it":              {dst: "d a\nf a/y =old\nl a/x >y", src: "f x =x", copy: "x /a/", want: "d a\nf a/x =x"},
	"file over link below":                    {dst: "d a\nl a/x >y", src: "d s\nf s/x =x", copy: "s /a", want: "d a\nf a/x =x"},
	"link over file":                          {dst: "d a\nf a/x =old", src: "d s\nl s/x >nowhere", copy: "s /a", want: "d a\nl a/x >nowhere"},
	"directory over link below":               {dst: "d a\nd r\nl a/n >../r", src: "d s\nd s/n", copy: "s /a", err: `cannot copy the directory "s/n" to "/a/n": it is a symlink`},
	"directory over file":                     {dst: "d a\nf a/n", src: "d s\nd s/n", copy: "s /a", err: `cannot copy the directory "s/n" to "/a/n": it is a file`},
	"directory over file at the top":          {dst: "f a", src: "d s", copy: "s /a", err: `it is a file`},
	"file over directory":                     {dst: "d a\nd a/x", src: "f x =x", copy: "x /a/", err: `"/a/x" is a directory and cannot be replaced by the file "x"`},
	"below a file":                            {dst: "f a", src: "f x =x", copy: "x /a/b", err: `"/a": not a directory`},
	"file named as directory":                 {dst: "f a", src: "f x =x", copy: "x /a/", err: `"/a": not a directory`},
	"a loop of links":                         {dst: "l a >b\nl b >a", src: "f x =x", copy: "x /a/c", err: "too many levels"},
	"a file to the root directory's own name": {src: "f x =x", copy: "x /", want: "f x =x"},
	"the root directory's time is nothing":    {src: "f x =x", copy: ". /", want: "f x =x"},
	"a group for all below":                   {dst: "d a 2750 5:6", src: "f x 644 3:4 =x", copy: "x /a/b/x", want: "d a 2750 5:6\nd a/b 2755 0:6 @9\nf a/b/x 3:4 =x"},
	// Row 5.
	"file to a name":                      {src: "f x 600 @4 =x", copy: "x /y", want: "f y 600 @4 =x"},
	"file to a missing directory":         {src: "f x =x", copy: "x /a/", want: "d a @9\nf a/x =x"},
	"file to a missing directory, dot":    {src: "f x =x", copy: "x /a/.", want: "d a @9\nf a/x =x"},
	"file to an existing directory":       {dst: "d a 711", src: "f x =x", copy: "x /a", want: "d a 711\nf a/x =x"},
	"several files to a directory":        {src: "f x =x\nf y =y", copy: "x y /a/", want: "d a @9\nf a/x =x\nf a/y =y"},
	"several files to no directory":       {src: "f x =x\nf y =y", copy: "x y /a", err: `copy "y" to "/a": "x" was already copied there; to copy several files to a directory, end it with "/"`},
	"several matches to no directory":     {src: "f x =x\nf y =y", copy: "* /a", err: `"x" was already copied there`},
	"several directories merge":           {src: "d s @4\nf s/x =x\nd t @5\nf t/y =y", copy: "s t /a", want: "d a @5\nf a/x =x\nf a/y =y"},
	"file and then directory":             {src: "f x =x\nd t\nf t/y =y", copy: "x t /a", err: "cannot copy the directory"},
	"later source wins":                   {src: "d s\nf s/x =old\nd t\nf t/x =new", copy: "s t /a", want: "d a\nf a/x =new"},
	"destination with dots":               {src: "f x =x", copy: "x /a/../b//c", want: "d b @9\nf b/c =x"},
	"destination with dots behind a link": {dst: "d r\nl l >r", src: "f x =x", copy: "x /l/../b/", want: "d b @9\nf b/x =x"},
	"source with a slash":                 {src: "d s @4\nf s/x =x", copy: "s/ /a", want: "d a @4\nf a/x =x"},
	"source that leads up":                {src: "f x =x", copy: "../../x /a", want: "f a =x"},
	"source as if absolute":               {src: "f x =x", copy: "/x /a", want: "f a =x"},
	"relative destination":                {src: "f x =x", copy: "x a", err: "not absolute"},
	// Row 6.
	"named link to a file is followed":      {src: "f x 600 =x\nl l >x", copy: "l /a/", want: "d a @9\nf a/l 600 =x"},
	"named link to a directory is followed": {src: "d s @4\nf s/x =x\nl l >/s", copy: "l /a", want: "d a @4\nf a/x =x"},
	"link in the source path is followed":   {src: "d s\nf s/x =x\nl l >s", copy: "l/x /a", want: "f a =x"},
	"named link stays in the tree":          {src: "f x =x\nl l >../../x", copy: "l /a", want: "f a =x"},
	"named link to nothing":                 {src: "l l >nowhere", copy: "l /a", err: `"l": not found in the build context: "l" is a symlink to "nowhere", which does not exist there`},
	"links below stay":                      {src: "d s\nl s/l >../x\nf x", copy: "s /a", want: "d a\nl a/l >../x"},
	"owner of links":                        {src: "d s\nl s/l 3:4 >x", copy: "--chown=7:8 --chmod=600 s /a", want: "d a 600 7:8\nl a/l 7:8 >x"},
	// Row 7, 8.
	"hardlinks of a directory":            {src: "d s\nf s/b =x\nh s/a >s/b\nh s/c >s/b\nf s/d =d", copy: "s /t", want: "d t\nf t/a =x\nh t/b >t/a\nh t/c >t/a\nf t/d =d"},
	"hardlinks across sources":            {src: "d s\nf s/a =x\nd t\nh t/b >s/a", copy: "s t /u", want: "d u\nf u/a =x\nf u/b =x"},
	"hardlinks across matches":            {src: "f a =x\nh b >a", copy: "* /u/", want: "d u @9\nf u/a =x\nf u/b =x"},
	"first hardlink replaced":             {src: "d s\nf s/a =x\nh s/b >s/a\nh s/c >s/a\nd t\nf t/a =y", copy: "s t /u", want: "d u\nf u/a =y\nf u/b =x\nh u/c >u/b"},
	"one name of a hardlink":              {src: "d s\nf s/b =x\nh a >s/b", copy: "s /u", want: "d u\nf u/b =x"},
	"hardlink copied over its own target": {dst: "d u\nf u/a =x\nh u/b >u/a", src: "d s\nf s/b =y", copy: "s /u", want: "d u\nf u/b =y"},
	// Row 9.
	"FIFOs": {src: "d s\np s/p 600 3:4", copy: "s /a", want: "d a\np a/p 600 3:4"},
	// Row 11 and --chmod.
	"special bits survive":                   {src: "d s\nf s/x 4755 3:4 =x\nd s/t 1777", copy: "--chown=7:8 s /a", want: "d a 7:8\nd a/t 1777 7:8\nf a/x 4755 7:8 =x"},
	"octal mode":                             {src: "d s\nf s/x =x\nd s/t", copy: "--chmod=4710 s /a/b", want: "d a 710 @9\nd a/b 710\nd a/b/t 4710\nf a/b/x 4710 =x"},
	"octal mode leaves existing directories": {dst: "d a", src: "f x =x", copy: "--chmod=600 x /a/", want: "d a\nf a/x 600 =x"},
	"symbolic mode":                          {src: "d s 700\nf s/x 640 =x\nf s/y 750 =y\nd s/t 700", copy: "--chmod=u=rwX,go=rX s /a/b", want: "d a @9\nd a/b\nd a/b/t\nf a/b/x =x\nf a/b/y 755 =y"},
	// Row 14.
	"new content in one layer": {dst: "d a\nf a/x =old", src: "f x 600 =new", copy: "x /a/x", want: "d a\nf a/x 600 =new"},
	// Wildcards.
	"wildcard":                              {src: "f a.c =1\nf b.c =2\nf c.h\nf .d.c =3", copy: "*.c /t/", want: "d t @9\nf t/.d.c =3\nf t/a.c =1\nf t/b.c =2"},
	"wildcard matches no slash":             {src: "d s\nf s/a.c =1\nf b.c =2", copy: "*.c /t/", want: "d t @9\nf t/b.c =2"},
	"wildcard in the middle":                {src: "d s1\nf s1/x =1\nd s2\nf s2/x =2\nf s3\nl s4 >s1", copy: "s*/x /t/", want: "d t @9\nf t/x =2"},
	"wildcard matches a directory":          {src: "d s1 @4\nf s1/x =1\nd s2 @5\nd s2/n\nf s2/n/y =2", copy: "s? /t", want: "d t @5\nd t/n\nf t/n/y =2\nf t/x =1"},
	"wildcard matches a link":               {src: "f x =x\nl l.c >x", copy: "*.c /t/", want: "d t @9\nf t/l.c =x"},
	"wildcard matches a dangling link":      {src: "l l.c >nowhere", copy: "*.c /t/", err: `"l.c": not found`},
	"wildcard below a link":                 {src: "d s\nf s/x =x\nl l >s", copy: "l/* /t/", want: "d t @9\nf t/x =x"},
	"wildcard without a match":              {src: "f x =x", copy: "y* /t/", want: ""},
	"wildcard without a match among others": {src: "f x =x", copy: "x y* /t/", want: "d t @9\nf t/x =x"},
	"wildcard in a missing directory":       {src: "f x =x", copy: "y/* /t/", err: `"y": not found in the build context`},
	"class of characters":                   {src: "f a1 =1\nf a2 =2\nf ab =b", copy: "a[0-9] /t/", want: "d t @9\nf t/a1 =1\nf t/a2 =2"},
	"escaped wildcard":                      {src: "f a* =1\nf ab =2", copy: `a\* /t/`, want: "d t @9\nf t/a* =1"},
	"escaped in a pattern":                  {src: "f a[0].c =1\nf a0.c =2", copy: `a[[]0].* /t/`, want: "d t @9\nf t/a[0].c =1"},
	"malformed wildcard":                    {src: "f a", copy: "a[ /t/", err: "malformed wildcard"},
	"missing":                               {src: "f main.go", copy: "main.og /t/", err: `"main.og": not found in the build context: did you mean "main.go"?`},
	"missing below":                         {src: "d src\nf src/README", copy: "src/readme /t/", err: `did you mean "src/README"?`},
	"missing below a file":                  {src: "f x", copy: "x/y /t/", err: `"x" is not a directory`},
	// --exclude.
	"exclude":                          {src: "d s\nf s/a.c =1\nf s/b.h =2\nd s/n\nf s/n/c.h =3", copy: "--exclude=*.h s /t", want: "d t\nf t/a.c =1\nd t/n\nf t/n/c.h =3"},
	"exclude at any depth":             {src: "d s\nf s/a.c =1\nf s/b.h =2\nd s/n\nf s/n/c.h =3", copy: "--exclude=**/*.h s /t", want: "d t\nf t/a.c =1\nd t/n"},
	"exclude a directory":              {src: "d s\nd s/n\nf s/n/c.h =3", copy: "--exclude=n s /t", want: "d t"},
	"exclude with exception":           {src: "d s\nd s/n 711\nf s/n/c =3\nf s/n/d =4", copy: "--exclude=* --exclude=!n/c s /t", want: "d t\nd t/n 711\nf t/n/c =3"},
	"exclude is for what is below":     {src: "f a.h =1", copy: "--exclude=*.h a.h /t/", want: "d t @9\nf t/a.h =1"},
	"exclude for each match":           {src: "d s1\nf s1/x =1\nf s1/y =2\nd s2\nf s2/x =3", copy: "--exclude=x s* /t", want: "d t\nf t/y =2"},
	"excluded parent exists: its mode": {dst: "d t\nd t/n 700 5:5 @2", src: "d s\nd s/n 711 3:4\nf s/n/c =3", copy: "--chmod=600 --exclude=* --exclude=!n/c s /t", want: "d t\nd t/n 711 5:5 @2\nf t/n/c 600 =3"},
	"malformed exclude":                {src: "d s", copy: "--exclude=a[ s /t", err: "bad pattern --exclude=a["},
	// --parents.
	"parents":                           {src: "d a 711 3:4 @4\nd a/b 700 @5\nf a/b/x =x\nf a/y", copy: "--parents a/b/x /t/", want: "d t\nd t/a 711 3:4 @4\nd t/a/b 700 @5\nf t/a/b/x =x"},
	"parents of a directory":            {src: "d a @4\nd a/b @5\nf a/b/x =x\nf a/y", copy: "--parents a/b /t/", want: "d t\nd t/a @4\nd t/a/b @5\nf t/a/b/x =x"},
	"parents from a pivot":              {src: "d a @4\nd a/b @5\nd a/b/c @6\nf a/b/c/x =x", copy: "--parents a/./b/c/x /t/", want: "d t @4\nd t/b @5\nd t/b/c @6\nf t/b/c/x =x"},
	"parents from the first pivot":      {src: "d a @4\nd a/b @5\nd a/b/c @6\nf a/b/c/x =x", copy: "--parents a/./b/./c /t/", want: "d t @4\nd t/b @5\nd t/b/c @6\nf t/b/c/x =x"},
	"parents of a wildcard":             {src: "d a\nd a/b\nf a/b/x.c =1\nd a/c\nf a/c/x.h =2\nf a/x.c =3", copy: "--parents a/*/*.c /t/", want: "d t\nd t/a\nd t/a/b\nf t/a/b/x.c =1"},
	"parents of any depth":              {src: "d a\nd a/b\nf a/b/x.c =1\nd a/c\nf a/c/x.h =2\nf a/x.c =3", copy: "--parents ./a/**/*.c /t/", want: "d t\nd t/a\nd t/a/b\nf t/a/b/x.c =1\nf t/a/x.c =3"},
	"parents of pivots by wildcard":     {src: "d a1\nd a1/c\nf a1/c/x =1\nd a2\nd a2/c\nf a2/c/y =2", copy: "--parents a*/./c/* /t/", want: "d t\nd t/c\nf t/c/x =1\nf t/c/y =2"},
	"parents of something missing":      {src: "d a", copy: "--parents a/b /t/", err: `"a/b": not found in the build context`},
	"parents of no match":               {src: "d a", copy: "--parents a/b* /t/", want: "d t"},
	"parents with owner":                {src: "d a 711 3:4 @4\nf a/x =x", copy: "--parents --chown=7:8 a/x /t/", want: "d t 7:8\nd t/a 711 7:8 @4\nf t/a/x 7:8 =x"},
	"parents that exist":                {dst: "d t\nd t/a 700 5:5 @2", src: "d a 711 3:4 @4\nf a/x =x", copy: "--parents a/x /t/", want: "d t\nd t/a 711 5:5 @2\nf t/a/x =x"},
	"parents through a link":            {src: "d a\nf a/x\nl l >a", copy: "--parents l/x /t/", err: `"l/x": not found in the build context: "l" is a symlink, and --parents follows none`},
	"parents of everything":             {src: "d a\nf a/x =x", copy: "--parents . /t/", want: "d t\nd t/a\nf t/a/x =x"},
	"parents of a pivot that is a file": {src: "f a =x\nd b\nf b/x =y", copy: "--parents ?/./x /t/", want: "d t\nf t/a =x\nf t/x =y"},
	"parents, malformed":                {src: "d a", copy: "--parents a[ /t/", err: "malformed wildcard"},
	// --link.
	"link ignores what is there":         {dst: "d a 700 5:5\nl a/l >/r", src: "f x =x", copy: "--link x /a/l/", want: "d a @9\nd a/l @9\nf a/l/x =x"},
	"link of a directory over a file":    {dst: "f a", src: "d s\nf s/x =x", copy: "--link s /a", want: "d a\nf a/x =x"},
	"link with a mode is none":           {dst: "d r\nl a >r", src: "f x =x", copy: "--link --chmod=600 x /a/", want: "d r\nf r/x 600 =x"},
	"a name that a layer takes for gone": {src: "d s\nf s/.wh.x", copy: "s /a", err: `names that start with ".wh."`},
	"unchanged parents are listed":       {dst: "d a 700 5:5 @2\nd a/b 711 @3", src: "f x =x", copy: "x /a/b/x", want: "d a 700 5:5 @2\nd a/b 711 @3\nf a/b/x =x"},
}

func TestPlan(t *testing.T) {
	t.Parallel()
	for name, tt := range planTests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dst, src := tree(t, tt.dst), tree(t, tt.src)
			changes, err := Plan(dst, instruction(t, src, tt.copy))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("COPY %s: error %v, want one with %q", tt.copy, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatalf("COPY %s: %v", tt.copy, err)
			}
			if diff := cmp.Diff(lines(tt.want), notation(t, changes)); diff != "" {
				t.Errorf("COPY %s: the layer (-want +got):\n%s", tt.copy, diff)
			}
			if _, err := dst.ApplyChanges(changes); err != nil {
				t.Errorf("apply the layer: %v", err)
			}
		})
	}
}

// TestTwice holds that a copy made again changes nothing, row 43.
func TestTwice(t *testing.T) {
	t.Parallel()
	for name, tt := range planTests {
		if tt.err != "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := instruction(t, tree(t, tt.src), tt.copy)
			var states []string
			at := tree(t, tt.dst)
			for range 2 {
				changes, err := Plan(at, spec)
				if err != nil {
					t.Fatal(err)
				}
				if at, err = at.ApplyChanges(changes); err != nil {
					t.Fatal(err)
				}
				states = append(states, notation(t, all(t, at)))
			}
			if diff := cmp.Diff(states[0], states[1]); diff != "" {
				t.Errorf("COPY %s a second time (-first +second):\n%s", tt.copy, diff)
			}
		})
	}
}

func TestInline(t *testing.T) {
	t.Parallel()
	spec := Spec{Dest: "/a/", ModTime: 9e9, Owner: &Owner{1, 2}, Sources: []Source{{Inline: []effect.File{
		{Name: "x", Content: "hello"}, {Name: "y"},
	}}}}
	changes, err := Plan(filetree.Empty(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("d a 1:2 @9\nf a/x 1:2 @9 =hello\nf a/y 1:2 @9\n", notation(t, changes)); diff != "" {
		t.Error(diff)
	}
	for _, c := range changes {
		if c.Type == filetree.Regular && !c.Digest.Known() {
			t.Errorf("%q: no digest", c.Path)
		}
	}
	spec.Dest = "/a"
	if _, err := Plan(filetree.Empty(), spec); err == nil {
		t.Error("two inline files to one name: no error")
	}
}

func TestMissingError(t *testing.T) {
	t.Parallel()
	_, err := Plan(filetree.Empty(), instruction(t, tree(t, "f x"), "z /"))
	missing, ok := errors.AsType[*MissingError](err)
	if !ok || missing.Path != "z" || missing.In != "the build context" {
		t.Errorf("error %v", err)
	}
}

func TestParseMode(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"10000", "8", "abc", "u=q", "-1", "0x1ff", "755x", "u", ","} {
		if _, err := ParseMode(bad); err == nil || !strings.Contains(err.Error(), "--chmod="+bad) {
			t.Errorf("ParseMode(%q): error %v", bad, err)
		}
	}
	for _, tt := range []struct {
		mode      string
		old, want uint16
		typ       filetree.Type
	}{
		{"", 0o640, 0o640, filetree.Regular},
		{"0", 0o640, 0, filetree.Regular},
		{"04711", 0o640, 0o4711, filetree.Regular},
		{"u+s,g-w", 0o775, 0o4755, filetree.Regular},
		{"+X", 0o644, 0o644, filetree.Regular},
		{"a+X", 0o644, 0o755, filetree.Directory},
		{"go=u", 0o700, 0o777, filetree.Directory},
		{"a-s", 0o6755, 0o755, filetree.Regular},
		{"+t", 0o755, 0o1755, filetree.Directory},
	} {
		m, err := ParseMode(tt.mode)
		if err != nil {
			t.Errorf("ParseMode(%q): %v", tt.mode, err)
			continue
		}
		if got := m.of(tt.old, tt.typ); got != tt.want {
			t.Errorf("%q of %o is %o, want %o", tt.mode, tt.old, got, tt.want)
		}
	}
}

func TestMkdir(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]planTest{
		"missing parents":    {dst: "d a 700", copy: "/a/b/c", want: "d a 700\nd a/b 1:2 @9\nd a/b/c 1:2 @9"},
		"exists":             {dst: "d a 700", copy: "/a/", want: ""},
		"the root":           {copy: "/", want: ""},
		"through a link":     {dst: "d r\nl a >/r", copy: "/a/b", want: "d r\nd r/b 1:2 @9"},
		"a link to nowhere":  {dst: "l a >r", copy: "/a", want: "d r 1:2 @9"},
		"a file":             {dst: "f a", copy: "/a/b", err: `make the directory "/a/b": "/a": not a directory`},
		"leading up":         {copy: "/../../a/../b", want: "d b 1:2 @9"},
		"a loop":             {dst: "l a >a", copy: "/a", err: "too many levels"},
		"a name of whiteout": {copy: "/.wh.a", err: ".wh."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changes, err := Mkdir(tree(t, tt.dst), Directory{Path: tt.copy, Owner: &Owner{1, 2}, ModTime: 9e9})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(lines(tt.want), notation(t, changes)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
