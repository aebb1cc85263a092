/**
 * Option values: text in, checked value out. Pure; a wrong value is a usage error that names the option and
 * says what would be right.
 */

import { resolve } from 'node:path'
import { TapferryError } from '../errors.ts'

/** Turns an option's text into its value; `flag` is for the message. */
export type ValueParser<T> = (text: string, flag: string) => T

export function usageError(message: string, hint?: string): TapferryError {
  return new TapferryError('USAGE', message, hint)
}

function invalidValue(flag: string, text: string, expected: string): TapferryError {
  return usageError(`${flag}: invalid value '${text}', should be ${expected}`)
}

/** `'a', 'b' or 'c'`. */
function oneOf(choices: readonly string[]): string {
  const quoted = choices.map(choice => `'${choice}'`)
  return `${quoted.slice(0, -1).join(', ')} or ${quoted.at(-1)}`
}

export function choice<const T extends string>(...choices: readonly T[]): ValueParser<T> {
  return (text, flag) => {
    const found = choices.find(candidate => candidate === text)
    if (found === undefined) throw invalidValue(flag, text, oneOf(choices))
    return found
  }
}

export const onOff: ValueParser<boolean> = (text, flag) => choice('on', 'off')(text, flag) === 'on'

/** As `onOff`, in the words of QEMU's netfilters. */
export const netfilterStatus: ValueParser<boolean> = (text, flag) => {
  if (text === 'on' || text === 'off') return text === 'on'
  throw usageError(
    `${flag}: Invalid value for netfilter status, should be 'on' or 'off', not '${text}'`,
    `write ${flag}=on or ${flag}=off`,
  )
}

/** A network interface or QEMU netdev id; whether it exists is found out later. */
export const netdevName: ValueParser<string> = (text, flag) => {
  if (/^[^\s/]+$/.test(text)) return text
  throw invalidValue(flag, text, 'the name of a network interface or a netdev id of QEMU')
}

/** A network namespace: a name, a path or the number of a process; whether it exists is found out later. */
export const netnsName: ValueParser<string> = (text, flag) => {
  if (text !== '' && text !== '.' && text !== '..' && !/[\0\s]/.test(text)) return text
  throw invalidValue(
    flag,
    text,
    "a name such as 'blue', a path such as '/proc/PID/ns/net', or a process's number",
  )
}

/** The directory of QEMU's `tls-creds-x509`, from the root on. */
export const credentialsDirectory: ValueParser<string> = (text, flag) => {
  if (text === '' || text.includes('\0')) {
    throw usageError(`${flag}: '${text}' is no directory`, "give the directory of QEMU's tls-creds-x509")
  }
  return resolve(text)
}

/** A file; whether it can be had is found out later. */
export const fileName: ValueParser<string> = (text, flag) => {
  if (text !== '' && !text.includes('\0')) return text
  throw invalidValue(flag, text, 'the path of a file')
}

/** A number of seconds, from a bare number or one with the unit ms, s, m or h. */
function readSeconds(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text)
  if (!match) return undefined
  const scale = { ms: 0.001, s: 1, m: 60, h: 3600 }[match[2] ?? 's']
  return scale === undefined ? undefined : Number(match[1]) * scale
}

/** Node's timers overflow above this many milliseconds. */
const MAX_TIMER_SECONDS = 2_147_483

/** Milliseconds, from a text in seconds or with a unit. */
export function duration({ zero }: { zero: boolean }): ValueParser<number> {
  const expected = `a time such as '10', '10s', '500ms' or '5m'${zero ? ", or '0'" : ', above 0'}`
  return (text, flag) => {
    const seconds = readSeconds(text)
    if (seconds === undefined || seconds > MAX_TIMER_SECONDS) throw invalidValue(flag, text, expected)
    const milliseconds = Math.round(seconds * 1000)
    if (milliseconds === 0 && !(zero && seconds === 0)) throw invalidValue(flag, text, expected)
    return milliseconds
  }
}

/** Whole milliseconds: `50`, `50ms`, with `units` also `5s`, `5m`; where it is not below the minimum, `0`. */
export function milliseconds(
  maximum: number,
  { minimum = 0, units = false, expected }: { minimum?: number; units?: boolean; expected?: string } = {},
): ValueParser<number> {
  return (text, flag) => {
    const match = /^(\d{1,9})(?:ms)?$/.exec(text)
    const seconds = units && !match ? (readSeconds(text) ?? Number.NaN) : Number.NaN
    const value = match ? Number(match[1]) : Math.round(seconds * 1000)
    if (value >= minimum && value <= maximum) return value
    const range = `milliseconds from ${minimum} to ${maximum}, such as '50' or '50ms'`
    throw invalidValue(flag, text, expected ?? range)
  }
}

/** A whole number, decimal or, with `0x`, hexadecimal. */
export function integer(minimum: number, maximum: number, expected: string): ValueParser<number> {
  return (text, flag) => {
    const value = /^(\d{1,16}|0[xX][0-9a-fA-F]{1,13})$/.test(text) ? Number(text) : Number.NaN
    if (value >= minimum && value <= maximum) return value
    throw invalidValue(flag, text, expected)
  }
}

const SIZE_UNITS = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 } as const

/** Bytes: a bare number, or one with the unit k, M or G, of 1024 each. */
export function byteSize(minimum: number, maximum: number, expected: string): ValueParser<number> {
  return (text, flag) => {
    const [, digits = '', unit = ''] = /^(\d{1,10})([kKmMgG]?)$/.exec(text) ?? []
    const scale = SIZE_UNITS[unit.toLowerCase() as keyof typeof SIZE_UNITS]
    const bytes = digits === '' ? Number.NaN : Number(digits) * scale
    if (bytes >= minimum && bytes <= maximum) return bytes
    throw invalidValue(flag, text, expected)
  }
}
