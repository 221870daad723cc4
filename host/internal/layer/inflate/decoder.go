package inflate

const (
	historySize = 32 << 10
	// outputSize is what is decoded between two moves of the history.
	outputSize = 256 << 10
	// slack is more than what one turn of the fast loop writes: four literals or six, and a match of 258 bytes, of which the
	// last step may be 15 bytes too long.
	slack = 320
)

// A block is what the decoder is in.
type block int

const (
	noBlock block = iota
	storedBlock
	codedBlock
	ended // the last block is over
)

// decoder decodes one DEFLATE stream (RFC 1951) after the other.
type decoder struct {
	in    input
	block block
	last  bool // the block is the stream's last
	left  int  // how many bytes of a stored block are to come
	fixed bool // the tables are those of fixed codes
	// out[first:pos] is the stream so far, or its end.
	out       [historySize + outputSize + slack]byte
	first     int
	pos       int
	lengths   [lengthTable]uint32
	distances [distanceTable]uint32
}

// begin begins a stream.
func (d *decoder) begin() {
	d.block, d.last = noBlock, false
	d.first = d.pos
}

// room moves the history to the front if there is no more room behind it.
func (d *decoder) room() {
	if d.pos < historySize+outputSize {
		return
	}
	kept := min(d.pos-d.first, historySize)
	copy(d.out[:kept], d.out[d.pos-kept:d.pos])
	d.first, d.pos = 0, kept
}

// decode decodes on until the output is full or the stream over. What was decoded before an error is good.
func (d *decoder) decode() error {
	for d.block != ended && d.pos < historySize+outputSize {
		var err error
		switch d.block {
		case noBlock:
			err = d.header()
		case storedBlock:
			err = d.stored()
		case codedBlock:
			err = d.coded()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) endBlock() {
	d.block = noBlock
	if d.last {
		d.block = ended
	}
}

func (d *decoder) stored() error {
	n := min(d.left, historySize+outputSize-d.pos)
	for n > 0 {
		d.in.fill(1)
		k := min(n, d.in.end-d.in.next)
		if k == 0 {
			return d.in.cutOff()
		}
		copy(d.out[d.pos:], d.in.buf[d.in.next:d.in.next+k])
		d.in.next += k
		d.pos += k
		d.left -= k
		n -= k
	}
	if d.left == 0 {
		d.endBlock()
	}
	return nil
}

// coded decodes symbols.
func (d *decoder) coded() error {
	for d.block == codedBlock && d.pos < historySize+outputSize {
		d.in.fill(fastInput)
		var err error
		if d.in.end-d.in.next >= fastInput {
			err = d.fast()
			d.in.settle()
		} else {
			err = d.careful()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// careful decodes one literal or match, near the end of the source.
func (d *decoder) careful() error {
	in := &d.in
	in.top() // to 57 bits at least, if there are so many, and no match takes more than 48
	e, err := d.in.lookUp(d.lengths[:], lengthRoot)
	if err != nil {
		return err
	}
	v := in.value(e)
	switch {
	case e&literal != 0:
		d.out[d.pos] = byte(v)
		d.pos++
		return nil
	case e&special != 0:
		d.endBlock()
		return nil
	}
	length := v
	if e, err = in.lookUp(d.distances[:], distanceRoot); err != nil {
		return err
	}
	distance := in.value(e)
	if distance > d.pos-d.first {
		return in.corrupt(tooFar)
	}
	for range length {
		d.out[d.pos] = d.out[d.pos-distance]
		d.pos++
	}
	return nil
}
