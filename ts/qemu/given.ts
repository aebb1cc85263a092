/** The properties that one option was given, asked for by name and type. Pure. */

import type { TapferryError } from '../errors.ts'
import { didYouMean } from '../options/closest.ts'
import { invalid } from './failures.ts'
import type { Properties } from './keyval.ts'

const TRUE = ['on', 'yes', 'true', 'y']
const FALSE = ['off', 'no', 'false', 'n']

export class Given {
  /** For messages: `chardev 'c0'`. */
  readonly subject: string
  readonly #values: Properties

  /** `known`: all that the option may be given. Throws QEMU_OPTION_INVALID for others. */
  constructor(subject: string, properties: Properties, known: readonly string[]) {
    this.subject = subject
    this.#values = new Map([...properties].map(([name, value]) => pair(subject, name, value, known)))
  }

  text(name: string): string | undefined {
    return this.#values.get(name)
  }

  /** A text without which the option makes no sense. */
  required(name: string, example: string): string {
    const value = this.text(name)
    if (value === undefined || value === '')
      throw this.invalid(`${name} is missing`, `add ${name}=${example}`)
    return value
  }

  /** As QEMU 7.2 takes them. */
  bool(name: string): boolean | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    if (!TRUE.includes(value) && !FALSE.includes(value)) {
      throw this.invalid(`${name}=${value} is neither on nor off`, `write ${name}=on or ${name}=off`)
    }
    return TRUE.includes(value)
  }

  choice<const T extends string>(name: string, choices: readonly T[]): T | undefined {
    const value = this.text(name)
    const found = choices.find(choice => choice === value)
    if (value !== undefined && found === undefined) {
      throw this.invalid(
        `${name}=${value}`,
        `write ${choices.map(choice => `${name}=${choice}`).join(' or ')}`,
      )
    }
    return found
  }

  /** A whole number of at least 0. */
  number(name: string): number | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    if (!/^\d{1,15}$/.test(value))
      throw this.invalid(`${name}=${value} is no whole number`, `for example ${name}=1000`)
    return Number(value)
  }

  invalid(why: string, hint?: string): TapferryError {
    return invalid(this.subject, why, hint)
  }
}

/** `nowait` is how older documentation writes `wait=off`. */
function pair(subject: string, name: string, value: string, known: readonly string[]): [string, string] {
  if (known.includes(name)) return [name, value]
  const negated = name.replace(/^no/, '')
  if (negated !== name && value === 'on' && known.includes(negated)) return [negated, 'off']
  throw invalid(
    subject,
    `has no property '${name}'`,
    didYouMean(name, known) ?? `properties are ${known.join(', ')}; a comma of a value is written twice`,
  )
}
