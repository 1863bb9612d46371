package report

import (
	"math"
	"slices"
	"strconv"
)

// scale places values on a line of pixels.
type scale struct {
	low, high  float64 // values at the ends
	from, to   float64 // pixels there
	logarithms bool    // equal factors take equal room, instead of equal differences
}

// at returns the pixel of a value.
func (s scale) at(v float64) float64 {
	place := func(v float64) float64 { return v }
	if s.logarithms {
		place = math.Log
	}
	return s.from + (s.to-s.from)*(place(v)-place(s.low))/(place(s.high)-place(s.low))
}

// ticks are the round values on the line: those of 1, 2 and 5 times a power of ten, or a few at equal distances.
func (s scale) ticks() []float64 {
	var ticks []float64
	if s.logarithms {
		for _, t := range roundUpTo(s.high) {
			if t >= s.low {
				ticks = append(ticks, t)
			}
		}
		return ticks
	}
	step := step(s.high - s.low)
	for t := math.Ceil(s.low/step) * step; t <= s.high; t += step {
		ticks = append(ticks, t)
	}
	return ticks
}

// least is the smallest value that logarithmic lines begin with.
const least = 0.01

// roundUpTo returns 1, 2 and 5 times the powers of ten, from least up to a limit.
func roundUpTo(limit float64) []float64 {
	var all []float64
	for exponent := -2; exponent < 12; exponent++ {
		for _, digit := range []float64{1, 2, 5} {
			v := digit * math.Pow10(exponent)
			if v > limit*1.0001 {
				return all
			}
			all = append(all, v)
		}
	}
	return all
}

// step is the round distance that divides a length into five to twelve parts, about.
func step(length float64) float64 {
	for _, s := range roundUpTo(math.MaxFloat64) {
		if length/s <= 8 {
			return s
		}
	}
	return length
}

// aroundLog is a logarithmic line that holds all values, from a round one to a round one.
func aroundLog(values []float64, from, to float64) scale {
	low, high := max(least, slices.Min(values)), max(2*least, slices.Max(values))
	s := scale{low: least, high: 2 * high, from: from, to: to, logarithms: true}
	for _, t := range roundUpTo(s.high) {
		if t <= low {
			s.low = t
		}
		if t >= high {
			s.high = t
			break
		}
	}
	return s
}

// fromZero is a line from 0 that holds all values.
func fromZero(values []float64, from, to float64) scale {
	high := slices.Max(values)
	if high <= 0 {
		high = 1
	}
	step := step(high)
	return scale{low: 0, high: math.Ceil(high/step) * step, from: from, to: to}
}

func tickText(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
