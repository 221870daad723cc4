package service

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"net/http"
	"net/url"

	"github.com/trowel-build/trowel/sdk"
)

// signService signs with secrets that a plugin never sees.
type signService struct{ s *Services }

// Sign implements [sdk.Signer].
func (g signService) Sign(_ context.Context, request sdk.SignRequest) (sdk.SignResponse, error) {
	response, err := g.sign(request)
	return response, g.s.safe(err)
}

func (g signService) sign(request sdk.SignRequest) (sdk.SignResponse, error) {
	switch request.Method {
	case sdk.SignHMAC:
		return g.s.signData(request)
	case sdk.SignAWS4:
		if request.AWS == nil {
			return sdk.SignResponse{}, fault(sdk.CodeInvalid, "sign with %q: there is nothing under aws", request.Method)
		}
		return g.s.signAlone(request)
	}
	return sdk.SignResponse{}, fault(sdk.CodeUnsupported, "there is no way %q to sign", cut(string(request.Method), 40))
}

// signData authenticates data.
func (s *Services) signData(request sdk.SignRequest) (sdk.SignResponse, error) {
	if err := s.vault.allow(request.Secret, UseHMAC); err != nil {
		return sdk.SignResponse{}, err
	}
	key, err := s.vault.value(request.Secret)
	if err != nil {
		return sdk.SignResponse{}, err
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(request.Data)
	return sdk.SignResponse{Signature: mac.Sum(nil)}, nil
}

// signAlone signs an HTTP request that is not made here. What it answers goes to the plugin: where the access key's ID or
// the token is a secret, a seal is in its place, which [Services.Send] replaces.
func (s *Services) signAlone(request sdk.SignRequest) (sdk.SignResponse, error) {
	a := request.AWS
	method := a.HTTPMethod
	if method == "" {
		method = http.MethodGet
	}
	req, err := newRequest(context.Background(), method, a.URL, a.Header, nil)
	if err != nil {
		return sdk.SignResponse{}, err
	}
	if req.URL.User != nil {
		return sdk.SignResponse{}, fault(sdk.CodeInvalid, "a URL that is signed can have no user information")
	}
	t, err := s.policy.check(req.URL)
	if err != nil {
		return sdk.SignResponse{}, err
	}
	for name, values := range req.Header {
		for _, value := range values {
			if hasReference(value) {
				return sdk.SignResponse{}, fault(sdk.CodeInvalid, "the header field %q of a request that is signed refers to a secret", name)
			}
		}
	}
	req.URL.Scheme, req.URL.Host = t.scheme, t.hostport()
	sign, err := s.awsSigner(request, t, a.PayloadHash)
	if err != nil {
		return sdk.SignResponse{}, err
	}
	if a.PresignSeconds != 0 {
		signed, err := sign.presign(req, a.PresignSeconds)
		if err != nil {
			return sdk.SignResponse{}, err
		}
		return sdk.SignResponse{URL: signed}, nil
	}
	added, err := sign.header(req)
	if err != nil {
		return sdk.SignResponse{}, err
	}
	return sdk.SignResponse{Header: added}, nil
}

// signRequest signs a request that is about to be sent, its secrets in place.
func (s *Services) signRequest(out *http.Request, t target, request sdk.SignRequest, hash string) error {
	if request.Method != sdk.SignAWS4 || request.AWS == nil {
		return fault(sdk.CodeInvalid, "a request is signed with %q and what belongs to it under aws", sdk.SignAWS4)
	}
	if request.AWS.PayloadHash != "" {
		hash = request.AWS.PayloadHash
	}
	sign, err := s.awsSigner(request, t, hash)
	if err != nil {
		return err
	}
	sign.sealed = sign.plain // it does not go to the plugin
	if seconds := request.AWS.PresignSeconds; seconds != 0 {
		signed, err := sign.presign(out, seconds)
		if err != nil {
			return err
		}
		out.URL, err = url.Parse(signed)
		return err
	}
	added, err := sign.header(out)
	for _, h := range added {
		out.Header.Set(h.Name, h.Value)
	}
	return err
}

// awsSigner resolves what a signature is made of.
func (s *Services) awsSigner(request sdk.SignRequest, t target, hash string) (awsSigner, error) {
	a := request.AWS
	sign := awsSigner{region: a.Region, service: a.Service, hash: hash, now: s.options.Now().UTC()}
	for _, part := range []string{a.Region, a.Service} {
		if !isScope(part) {
			return sign, fault(sdk.CodeInvalid, "sign with %q: region and service must be words such as %q and %q", UseAWS4, "eu-central-1", "s3")
		}
	}
	if hash != "" && !isScope(hash) {
		return sign, fault(sdk.CodeInvalid, "sign with %q: payloadHash is %q, and must be hexadecimal", UseAWS4, cut(hash, 80))
	}
	var err error
	if sign.secret, err = s.vault.forHost(request.Secret, UseAWS4, t); err != nil {
		return sign, err
	}
	if sign.plain.id, sign.sealed.id, err = s.identity(a.AccessKeyID, request.Secret, t); err != nil {
		return sign, err
	}
	if sign.plain.id == "" {
		return sign, fault(sdk.CodeInvalid, "sign with %q: accessKeyId is missing", UseAWS4)
	}
	sign.plain.token, sign.sealed.token, err = s.identity(a.SessionToken, request.Secret, t)
	return sign, err
}

// identity resolves an access key's ID or a session token, which may be the reference to a secret, and what the plugin gets
// to see of it. The key itself is never either: it would be sent.
func (s *Services) identity(text, key string, t target) (plain, sealed string, err error) {
	if !hasReference(text) {
		return text, text, validValue("Authorization", text)
	}
	name, ok := only(text)
	switch {
	case !ok:
		return "", "", fault(sdk.CodeInvalid, "an access key's ID or a session token is either text or one reference {{secret:NAME}}")
	case name == key:
		return "", "", fault(sdk.CodeDenied, "the secret %q signs, and so is neither the access key's ID nor the session token", name)
	}
	if plain, err = s.vault.forHost(name, UseAWS4, t); err != nil {
		return "", "", err
	}
	return plain, s.vault.seal(name), validValue("Authorization", plain)
}
