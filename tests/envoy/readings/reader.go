// Reads hosts and paths as Go's net/http does when a request comes in, and as its ServeMux cleans
// them. The lines are those of reader.py.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
)

type request struct{ Host, Target string }

// Each character of the text is a byte.
func raw(text string) []byte {
	var out []byte
	for _, c := range text {
		out = append(out, byte(c))
	}
	return out
}

func clean(p string) string {
	if p == "" {
		return "/"
	}
	if p[0] != '/' {
		p = "/" + p
	}
	cleaned := path.Clean(p)
	if strings.HasSuffix(p, "/") && cleaned != "/" {
		cleaned += "/"
	}
	return cleaned
}

func readings(r request) [][]interface{} {
	out := [][]interface{}{}
	head := bytes.Join([][]byte{[]byte("GET "), raw(r.Target), []byte(" HTTP/1.1\r\nHost: "), raw(r.Host), []byte("\r\n\r\n")}, nil)
	got, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err == nil {
		host := (&url.URL{Host: got.Host}).Hostname()
		out = append(out,
			[]interface{}{"go net/http", host, got.URL.EscapedPath(), true},
			[]interface{}{"go net/http", host, got.URL.Path, false},
			[]interface{}{"go ServeMux", host, clean(got.URL.Path), false},
			[]interface{}{"go ServeMux", strings.TrimSuffix(host, "."), clean(got.URL.Path), false})
	}
	whole, err := url.Parse("http://" + string(raw(r.Host)) + string(raw(r.Target)))
	if err == nil {
		out = append(out,
			[]interface{}{"go net/url", whole.Hostname(), whole.EscapedPath(), true},
			[]interface{}{"go net/url", whole.Hostname(), whole.Path, false})
	}
	return out
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	encoder := json.NewEncoder(out)
	decoder := json.NewDecoder(in)
	for {
		var r request
		if decoder.Decode(&r) != nil {
			return
		}
		encoder.Encode(readings(r))
	}
}
