package inflate

// What is wrong with a stream.
const (
	badBlock   = "a block of type 3"
	badStored  = "a stored block whose length does not match its complement"
	badCount   = "a block of more symbols than there are"
	badLengths = "code lengths that make no prefix code"
	badRepeat  = "code lengths that are repeated before the first or past the last"
	badCode    = "a code that stands for nothing"
	tooFar     = "a match that begins before the stream"
)

// codeOrder is the order of the lengths of the code lengths' codes.
var codeOrder = [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// header reads that of a block.
func (d *decoder) header() error {
	h, err := d.in.take(3)
	if err != nil {
		return err
	}
	d.last = h&1 != 0
	switch h >> 1 {
	case 0:
		err = d.storedHeader()
	case 1:
		d.fixedHeader()
	case 2:
		err = d.dynamicHeader()
	default:
		err = d.in.corrupt(badBlock)
	}
	return err
}

func (d *decoder) storedHeader() error {
	d.in.settle()
	n, err := d.in.uint32()
	if err != nil {
		return err
	}
	if n&0xffff != ^n>>16 {
		return d.in.corrupt(badStored)
	}
	d.block, d.left = storedBlock, int(n&0xffff)
	return nil
}

// fixedHeader makes the tables of section 3.2.6, unless they are there already: a stream can be made of many small blocks.
func (d *decoder) fixedHeader() {
	d.block = codedBlock
	if d.fixed {
		return
	}
	var lengths [maxLengths]uint8
	for i := range lengths {
		switch {
		case i < 144, i >= 280:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		default:
			lengths[i] = 7
		}
	}
	var distances [maxDistances]uint8
	for i := range distances {
		distances[i] = 5
	}
	build(d.lengths[:], lengthRoot, lengths[:], lengthEntry)
	build(d.distances[:], distanceRoot, distances[:], distanceEntry)
	d.fixed = true
}

// dynamicHeader reads the codes' lengths, see section 3.2.7.
func (d *decoder) dynamicHeader() error {
	in := &d.in
	h, err := in.take(14)
	if err != nil {
		return err
	}
	nLengths, nDistances := int(h&31)+257, int(h>>5&31)+1
	if nLengths > 286 || nDistances > 30 {
		return in.corrupt(badCount)
	}
	var order [len(codeOrder)]uint8
	for _, symbol := range codeOrder[:h>>10+4] {
		n, err := in.take(3)
		if err != nil {
			return err
		}
		order[symbol] = uint8(n)
	}
	var lengths [maxLengths + maxDistances]uint8
	if err := d.codeLengths(&order, lengths[:nLengths+nDistances]); err != nil {
		return err
	}
	d.block, d.fixed = codedBlock, false
	if !build(d.lengths[:], lengthRoot, lengths[:nLengths], lengthEntry) ||
		!build(d.distances[:], distanceRoot, lengths[nLengths:nLengths+nDistances], distanceEntry) {
		return in.corrupt(badLengths)
	}
	return nil
}

func (d *decoder) codeLengths(order *[len(codeOrder)]uint8, lengths []uint8) error {
	const root = 7
	in := &d.in
	var table [1 << root]uint32
	if !build(table[:], root, order[:], plainEntry) {
		return in.corrupt(badLengths)
	}
	for i := 0; i < len(lengths); {
		if in.count < root {
			in.top()
		}
		e, err := in.lookUp(table[:], root)
		if err != nil {
			return err
		}
		in.drop(uint64(e & 63))
		symbol := uint8(e >> 16)
		if symbol < 16 {
			lengths[i] = symbol
			i++
			continue
		}
		n, err := d.repeat(symbol)
		if err != nil {
			return err
		}
		if n > len(lengths)-i || symbol == 16 && i == 0 {
			return in.corrupt(badRepeat)
		}
		value := uint8(0)
		if symbol == 16 {
			value = lengths[i-1]
		}
		for range n {
			lengths[i] = value
			i++
		}
	}
	return nil
}

// repeat reads how many lengths a symbol from 16 on stands for.
func (d *decoder) repeat(symbol uint8) (int, error) {
	extra, least := uint64(2), 3
	switch symbol {
	case 17:
		extra = 3
	case 18:
		extra, least = 7, 11
	}
	n, err := d.in.take(extra)
	return least + int(n), err
}
