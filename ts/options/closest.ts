/** What somebody may have meant. Pure. */

/** The candidates that differ least, if they are near enough for a typing error; whoever comes first, first. */
export function closest(text: string, candidates: readonly string[]): string[] {
  const near = [...new Set(candidates)]
    .map(candidate => ({ candidate, distance: distanceOf(text, candidate) }))
    .filter(({ candidate, distance }) => distance <= Math.max(1, Math.floor(candidate.length / 4)))
  const least = Math.min(...near.map(({ distance }) => distance))
  return near.filter(({ distance }) => distance === least).map(({ candidate }) => candidate)
}

/** The next step where somebody may have mistyped; undefined where nothing is near. */
export function didYouMean(text: string, candidates: readonly string[]): string | undefined {
  const [similar] = closest(text, candidates)
  return similar === undefined ? undefined : `did you mean ${similar}?`
}

/** Capitals are half a mistake, however many. */
function distanceOf(text: string, candidate: string): number {
  if (text !== candidate && text.toLowerCase() === candidate.toLowerCase()) return 0.5
  return editDistance(text, candidate)
}

/** Levenshtein's distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (const [i, charA] of [...a].entries()) {
    const next = [i + 1]
    for (const [j, charB] of [...b].entries()) {
      const substitution = (row[j] ?? 0) + (charA === charB ? 0 : 1)
      next.push(Math.min(substitution, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row.at(-1) ?? 0
}
