/** Command lines as words, to be printed again. Pure. */

/** A word as sh(1) takes it. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`
}

/** The words without some options, however their values are written. `gone`: by name, whether it takes a value. */
export function withoutOptions(words: readonly string[], gone: ReadonlyMap<string, boolean>): string[] {
  const kept: string[] = []
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? ''
    const takesValue = gone.get(word.split('=')[0] ?? '')
    if (takesValue === undefined) kept.push(word)
    else if (takesValue && !word.includes('=')) index += 1
  }
  return kept
}
