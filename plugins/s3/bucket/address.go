package bucket

import (
	"strconv"
	"strings"
)

// style is where a URL names the bucket.
type style string

const (
	virtualHost style = "virtual host"
	inPath      style = "path"
)

// address makes the URLs of objects.
type address struct {
	base string // with the bucket and the prefix, ends with '/'
	root string // of the bucket
	host string // for errors
}

// newAddress puts together what all URLs have in common. An empty endpoint is that of AWS.
func newAddress(endpoint, region, bucket, prefix string, s style) (address, error) {
	if endpoint == "" {
		endpoint = "https://s3." + region + ".amazonaws.com"
		if strings.HasPrefix(region, "cn-") {
			endpoint += ".cn"
		}
	}
	scheme, host, ok := strings.Cut(strings.TrimSuffix(endpoint, "/"), "://")
	if !ok || scheme != "https" && scheme != "http" || host == "" || !only(host, lower+upper+digits+"-.:[]") {
		return address{}, wrong("endpoint " + strconv.Quote(endpoint) + " is none such as \"https://minio.example.com:9000\"")
	}
	prefix = strings.Trim(prefix, "/")
	for _, element := range strings.Split(prefix, "/") {
		if prefix != "" && (element == "" || element == "." || element == "..") || !only(element, unreserved) {
			return address{}, wrong("prefix " + strconv.Quote(prefix) + " is none such as \"team/app\": letters, digits, '-', '_', '.', '~' and single '/'")
		}
	}
	a := address{root: scheme + "://" + bucket + "." + host + "/", host: host}
	if s == inPath {
		a.root = scheme + "://" + host + "/" + bucket + "/"
	}
	a.base = a.root
	if prefix != "" {
		a.base += prefix + "/"
	}
	return a, nil
}

// unreserved are the characters that stand for themselves in a URL, however it is signed.
const unreserved = lower + upper + digits + "-_.~"

// escape makes a value fit for a query.
func escape(value string) string {
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(value))
	for i := range len(value) {
		if c := value[i]; strings.IndexByte(unreserved, c) >= 0 {
			out = append(out, c)
		} else {
			out = append(out, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(out)
}
