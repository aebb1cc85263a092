import test from 'ava'
import fc from 'fast-check'
import { TapferryError } from '../../ts/errors.ts'
import { byteSize, duration, integer, milliseconds, type ValueParser } from '../../ts/options/values.ts'
import { formatBytes, formatCount, formatDuration, formatRfc3339 } from '../../ts/output/format.ts'

const parsers: Record<string, ValueParser<number>> = {
  duration: duration({ zero: true }),
  milliseconds: milliseconds(10_000),
  integer: integer(1, 0xffff_ffff, 'a number'),
  byteSize: byteSize(1, 2 ** 32 - 1, 'a size'),
}

for (const [name, parse] of Object.entries(parsers)) {
  test(`${name}: any text is a finite number or a usage error`, t => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^-?[0-9.xea]{0,20}(ms|s|m|h|k|M|G)?$/)), text => {
        try {
          const value = parse(text, '--flag')
          return Number.isFinite(value) && value >= 0
        } catch (error) {
          return error instanceof TapferryError && error.code === 'USAGE'
        }
      }),
    )
    t.pass()
  })
}

test('every number in range is read back, decimal and hexadecimal', t => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 0xffff_ffff }), value => {
      const parse = integer(1, 0xffff_ffff, 'a number')
      return parse(String(value), '') === value && parse(`0x${value.toString(16)}`, '') === value
    }),
  )
  t.pass()
})

test('sizes have binary units, small and capital', t => {
  const parse = byteSize(1, 2 ** 32 - 1, 'a size')
  const sizes = ['1', '64k', '64K', '16M', '16m', '1G', '4095M', '4294967295'].map(text => parse(text, ''))
  t.deepEqual(sizes, [1, 65_536, 65_536, 2 ** 24, 2 ** 24, 2 ** 30, 4095 * 2 ** 20, 2 ** 32 - 1])
  for (const text of ['0', '4G', '4294967296', '1.5M', '1 k', 'k', '1kB', '-1'])
    t.throws(() => parse(text, ''))
})

test('milliseconds may have a least value', t => {
  const parse = milliseconds(100, { minimum: 1 })
  t.is(parse('1', ''), 1)
  t.throws(() => parse('0', '--hold'), {
    message: "--hold: invalid value '0', should be milliseconds from 1 to 100, such as '50' or '50ms'",
  })
})

test('milliseconds may have the units of other times', t => {
  const parse = milliseconds(3_600_000, { units: true })
  t.deepEqual(
    ['100', '100ms', '5s', '0.5s', '2m', '1h'].map(text => parse(text, '')),
    [100, 100, 5000, 500, 120_000, 3_600_000],
  )
  for (const text of ['2h', '5d', 's', '-5s']) t.throws(() => parse(text, ''))
  t.throws(() => milliseconds(100_000)('5s', ''))
})

test('counts have thousands separators', t => {
  t.deepEqual([0, 999, 1000, 1234567].map(formatCount), ['0', '999', '1,000', '1,234,567'])
})

test('bytes have decimal units', t => {
  const bytes = [0, 999, 1000, 1_214_000, 999_999, 12_345_678_901]
  t.deepEqual(bytes.map(formatBytes), ['0 B', '999 B', '1.00 kB', '1.21 MB', '1.00 MB', '12.3 GB'])
})

test('durations are told in the two largest units', t => {
  const durations = [0, 307.4, 999.4, 12_345, 59_949, 59_950, 302_000, 7_500_000]
  const words = ['0 ms', '307 ms', '999 ms', '12.3 s', '59.9 s', '1 min 00 s', '5 min 02 s', '2 h 05 min']
  t.deepEqual(durations.map(formatDuration), words)
})

test('times are RFC 3339 in UTC, to the nanosecond', t => {
  t.is(formatRfc3339(0n), '1970-01-01T00:00:00.000000000Z')
  t.is(formatRfc3339(1_795_374_187_123_456_789n), '2026-11-22T19:03:07.123456789Z')
})
