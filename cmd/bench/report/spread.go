package report

import "slices"

// Spread is where values lie.
type Spread struct {
	Median, Min, Max float64
}

// Of finds the middle and the ends of values. Of an even number, the median is the mean of the two in the middle; of no
// values, all are 0.
func Of(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return Spread{Median: median, Min: sorted[0], Max: sorted[len(sorted)-1]}
}

func spread(runs []Run, value func(Run) float64) Spread {
	values := make([]float64, len(runs))
	for i, r := range runs {
		values[i] = value(r)
	}
	return Of(values)
}
