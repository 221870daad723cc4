package output

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/image"
)

func TestParseSpecs(t *testing.T) {
	t.Parallel()
	three := 3
	amd64 := &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	tests := map[string]struct {
		want  Spec
		fails string
	}{
		"out":                              {want: Spec{Type: TypeLocal, Dest: "out"}},
		"./a=b":                            {want: Spec{Type: TypeLocal, Dest: "./a=b"}},
		"-":                                {want: Spec{Type: TypeTar, Dest: "-"}},
		"type=local,dest=out,mode=delete":  {want: Spec{Type: TypeLocal, Dest: "out", Existing: ExistingDelete}},
		"type=local,dest=out,src=/app":     {want: Spec{Type: TypeLocal, Dest: "out", Source: "/app"}},
		"type=tar,dest=out.tar":            {want: Spec{Type: TypeTar, Dest: "out.tar"}},
		"type=tar":                         {want: Spec{Type: TypeTar, Dest: "-"}},
		"type=oci,dest=x":                  {want: Spec{Type: TypeOCI, Dest: "x"}},
		"type=oci":                         {want: Spec{Type: TypeOCI, Dest: "-"}},
		"type=oci,dest=x,tar=false":        {want: Spec{Type: TypeOCI, Dest: "x", Form: FormDirectory}},
		"type=tar,platform-split=true":     {want: Spec{Type: TypeTar, Dest: "-", Split: SplitAlways}},
		"type=tar,platform-split=false":    {want: Spec{Type: TypeTar, Dest: "-", Split: SplitNever}},
		"type=docker,dest=-":               {want: Spec{Type: TypeDocker, Dest: "-"}},
		"type=cacheonly":                   {want: Spec{Type: TypeCacheOnly}},
		"type=image":                       {want: Spec{Type: TypeImage}},
		`type=image,"name=a,b",push=true`:  {want: Spec{Type: TypeImage, Names: []string{"a", "b"}, Push: PushNames}},
		"type=registry":                    {want: Spec{Type: TypeImage, Push: PushNames}},
		"type=registry,push=false":         {want: Spec{Type: TypeImage}},
		" Type =image, PUSH=1":             {want: Spec{Type: TypeImage, Push: PushNames}},
		"type=image,push-by-digest=true":   {want: Spec{Type: TypeImage}},
		"type=registry,registry.insecure":  {fails: "not of the form key=value"},
		"type=registry,registry.insecure=": {want: Spec{Type: TypeImage, Push: PushNames, Insecure: true}},
		"type=image,name=a,push-by-digest=true,name-canonical=true,push=true": {want: Spec{Type: TypeImage, Names: []string{"a"}, Push: PushDigest}},
		"type=image,compression=zstd,compression-level=3,force-compression=true": {want: Spec{
			Type: TypeImage, Compression: image.Zstd, CompressionLevel: &three, ForceCompression: true,
		}},
		"type=image,oci-mediatypes=false,rewrite-timestamp=false,unpack=false": {want: Spec{Type: TypeImage, Format: image.Docker, Rewrite: new(false)}},
		"type=image,oci-mediatypes=true":                                       {want: Spec{Type: TypeImage, Format: image.OCI}},
		"type=image,annotation.org.a=1,annotation-index.b=2,annotation-manifest[linux/amd64].c=3": {want: Spec{Type: TypeImage, Annotations: image.Annotations{
			{Target: image.OnManifest, Key: "org.a", Value: "1"},
			{Target: image.OnIndex, Key: "b", Value: "2"},
			{Target: image.OnManifest, Platform: amd64, Key: "c", Value: "3"},
		}}},

		"dest=out":                       {fails: "it has no type"},
		"push=true,name=a":               {fails: "it has no type"},
		"type=":                          {fails: "it has no type"},
		"type=ocy,dest=x":                {fails: `unknown type "ocy": did you mean "oci"?`},
		"type=kubernetes":                {fails: `unknown type "kubernetes": known are image, registry, oci`},
		"typ=oci,dest=x":                 {fails: "it has no type"},
		"type=oci,dst=x":                 {fails: `unknown key "dst": did you mean "dest"?`},
		"type=image,compresion=gzip":     {fails: `unknown key "compresion": did you mean "compression"?`},
		"type=image,compression=gzipp":   {fails: `did you mean "gzip"?`},
		"type=image,compression=estargz": {fails: "use gzip or zstd"},
		"type=image,compression=zstd,oci-mediatypes=false":        {fails: "needs OCI media types"},
		"type=oci,dest=x,oci-mediatypes=false":                    {fails: "use type=docker"},
		"type=image,oci-mediatypes=false,annotation.a=b":          {fails: "annotations need OCI"},
		"type=image,compression-level=10":                         {fails: "between 0 and 9"},
		"type=image,compression=zstd,compression-level=23":        {fails: "between 0 and 22"},
		"type=image,compression=uncompressed,compression-level=1": {fails: "no meaning"},
		"type=image,compression-level=fast":                       {fails: "no number"},
		"type=image,push=perhaps":                                 {fails: "neither true nor false"},
		"type=image,dest=x":                                       {fails: "has no dest"},
		"type=image,rewrite-timestamp=maybe":                      {fails: "neither true nor false"},
		"type=image,unpack=true":                                  {fails: "no daemon"},
		"type=image,annotation-inedx.k=v":                         {fails: `target "inedx"`},
		"type=image,annotation.=v":                                {fails: "not of the form"},
		"type=tar,annotation.k=v":                                 {fails: "has no annotations"},
		"type=tar,push=true":                                      {fails: `key "push" does not belong to type "tar": it is for image`},
		"type=oci,mode=delete,dest=x":                             {fails: `does not belong to type "oci"`},
		"type=local":                                              {fails: "add dest="},
		"type=local,dest=-":                                       {fails: "cannot go to standard output"},
		"type=oci,tar=false":                                      {fails: "add dest="},
		"type=docker":                                             {fails: "docker load -i"},
		"type=docker,dest=x,tar=false":                            {fails: "use type=oci"},
		"type=local,dest=x,mode=mirror":                           {fails: "unknown mode"},
		"type=local,dest=x,src=":                                  {fails: "it is empty"},
		"type=oci,dest=x,source-date-epoch=1":                     {fails: "SOURCE_DATE_EPOCH"},
		"type=oci,dest=\"x":                                       {fails: "quote"},
		"type=oci\ntype=tar":                                      {fails: "more than one line"},
	}
	for value, test := range tests {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			got, err := ParseSpecs([]string{"", value})
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) || !strings.HasPrefix(err.Error(), "output ") {
					t.Errorf("error %v does not say %q", err, test.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]Spec{test.want}, got, cmpopts.IgnoreUnexported(Spec{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if _, err := ParseSpecs([]string{"-", "type=oci"}); err == nil || !strings.Contains(err.Error(), "2 outputs go to standard output") {
		t.Errorf("two to standard output: %v", err)
	}
}

func TestNeeds(t *testing.T) {
	t.Parallel()
	for typ, want := range map[Type]Needs{
		TypeImage: NeedsImage, TypeOCI: NeedsImage, TypeDocker: NeedsImage, TypeTar: NeedsTree, TypeLocal: NeedsTree, TypeCacheOnly: NeedsNothing,
	} {
		if got := (Spec{Type: typ}).Needs(); got != want {
			t.Errorf("type %s needs %q, want %q", typ, got, want)
		}
	}
}
