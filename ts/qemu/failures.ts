/** Why a piece of a QEMU command line is refused: it is wrong there as well, or it cannot mean the same here. Pure. */

import { TapferryError } from '../errors.ts'

/** QEMU would not take it either. `subject`: `chardev 'c0'`, `filter-mirror 'm0'`. */
export function invalid(subject: string, why: string, hint?: string): TapferryError {
  return new TapferryError('QEMU_OPTION_INVALID', `${subject}: ${why}`, hint)
}

/** QEMU takes it, and here it would mean something else, or nothing. */
export function unsupported(subject: string, why: string, hint?: string): TapferryError {
  return new TapferryError('QEMU_OPTION_UNSUPPORTED', `${subject}: ${why}`, hint)
}

export function refuseTwins(kind: string, named: readonly { id: string; subject: string }[]): void {
  const twin = named.find(({ id }, index) => named.findIndex(other => other.id === id) < index)
  if (twin !== undefined)
    throw invalid(twin.subject, `Duplicate ID '${twin.id}' for ${kind}`, 'give each its own id')
}

/** What was refused, one by one: an operator shall see at once what a copied command line comes to. */
export class Refusals {
  readonly #refusals: TapferryError[] = []

  get none(): boolean {
    return this.#refusals.length === 0
  }

  /** A list of one, or of none. */
  collect<T>(attempt: () => T): T[] {
    try {
      return [attempt()]
    } catch (error) {
      if (!(error instanceof TapferryError)) throw error
      this.#refusals.push(error)
      return []
    }
  }

  throwIfAny(objects: number): void {
    const [first, ...others] = this.#refusals
    if (first === undefined) return
    if (others.length === 0) throw first
    const lines = this.#refusals.map(({ message, hint = '' }) => `${message}\n${hint.replace(/^/gm, '  ')}`)
    throw new TapferryError(
      first.code,
      `${this.#refusals.length} of ${objects} objects cannot be had here as they are`,
      lines.join('\n'),
    )
  }
}
