/** From the text of a file to a report: checked field by field, so that whoever draws it need not doubt. */

import { TapferryError } from '../../errors.ts'
import type {
  DestinationNetdev,
  HandoverReport,
  ReportedWarning,
  Side,
  Slice,
  SourceNetdev,
  SourceReport,
} from './shape.ts'
import { REPORT_VERSION } from './shape.ts'

/** What a value must be: one of these words, one of a list of values, an object of fields, or a list of such. */
type Kind = Scalar | readonly (string | number | null)[] | Fields | ListOf
type Scalar = keyof typeof SCALARS
type ListOf = { readonly list: Fields }
type Fields = { readonly [field: string]: Kind }
/** The fields of an object of that type, none forgotten. */
type FieldsOf<T> = { readonly [Field in keyof T]: Kind }

const isText = (value: unknown): boolean => typeof value === 'string' && value !== ''
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0
/** As many digits as 64 bits take. */
const isMoment = (value: unknown): boolean => typeof value === 'string' && /^\d{1,20}$/.test(value)
const isNumber = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value)
const isLength = (value: unknown): boolean => isNumber(value) && Number(value) >= 0

const SCALARS = {
  text: isText,
  'text or null': (value: unknown) => value === null || isText(value),
  count: isCount,
  moment: isMoment,
  'moment or null': (value: unknown) => value === null || isMoment(value),
  'number or null': (value: unknown) => value === null || isNumber(value),
  milliseconds: isLength,
  'milliseconds or null': (value: unknown) => value === null || isLength(value),
  'length of a slice': (value: unknown) => isNumber(value) && Number(value) > 0,
  boolean: (value: unknown) => typeof value === 'boolean',
} as const

const OUTCOMES = ['done', 'cancelled', 'failed', 'stopped'] as const

const SLICE: FieldsOf<Slice> = {
  time_ns: 'moment',
  came: 'count',
  went: 'count',
  direct: 'count',
  deduplicated: 'count',
}

const EITHER_NETDEV = {
  netdev: 'text',
  interface: 'text',
  mac: 'text or null',
  outcome: [...OUTCOMES, 'pending'],
  reason: 'text or null',
  states: { list: { state: 'text', time_ns: 'moment' } },
  stopped_ns: 'moment or null',
  resumed_ns: 'moment or null',
  downtime_ms: 'milliseconds or null',
  links_lost: 'count',
  clock_offset_ms: 'number or null',
  timeline: { slice_ms: 'length of a slice', slices: { list: SLICE } },
} as const

const SOURCE_NETDEV: FieldsOf<SourceNetdev> = {
  ...EITHER_NETDEV,
  captured: 'count',
  sent: 'count',
  acknowledged: 'count',
  held: 'count',
  hold_full: 'count',
  ring_full: 'count',
  unsendable: 'count',
  reflected: 'count',
  no_peer: 'count',
  discarded: 'count',
  given_back: 'count',
  give_back_basis: ['contents', 'lengths', 'counts', 'unsure', null],
  cut_method: ['used_ring', 'used_index', 'queue_status', 'tx_packets', 'timestamp', null],
  cut_reason: 'text or null',
  cut_after_ms: 'milliseconds or null',
  announced_ns: 'moment or null',
  link_delay_ms: 'milliseconds or null',
  tap_held: 'boolean',
}

const DESTINATION_NETDEV: FieldsOf<DestinationNetdev> = {
  ...EITHER_NETDEV,
  received: 'count',
  injected: 'count',
  deduplicated: 'count',
  parked: 'count',
  parked_most: 'count',
  before_cut: 'count',
  refused: 'count',
  discarded: 'count',
  kept_out: 'count',
  direct: 'count',
  lost_at_tap: 'count',
  gate: ['tcx', 'cls_bpf', null],
  opened_ns: 'moment or null',
  cut_ns: 'moment or null',
  delay_most_ms: 'milliseconds',
  delay_mean_ms: 'milliseconds',
}

const WARNING: FieldsOf<ReportedWarning> = {
  netdev: 'text or null',
  code: 'text or null',
  time_ns: 'moment',
  message: 'text',
}

function reportFields(side: Side): FieldsOf<SourceReport> {
  return {
    type: ['handover_report'],
    version: [REPORT_VERSION],
    side: [side],
    tapferry: 'text',
    host: 'text',
    time: 'text',
    vm: { name: 'text or null', uuid: 'text or null' },
    outcome: OUTCOMES,
    warnings: { list: WARNING },
    netdevs: { list: side === 'source' ? SOURCE_NETDEV : DESTINATION_NETDEV },
  }
}

/** `file` is for the messages. A field that is not known is of a newer tapferry, and does no harm. */
export function readReport(text: string, file: string): HandoverReport {
  const invalid = (why: string) =>
    new TapferryError('REPORT_INVALID', `'${file}' is no report of a handover: ${why}`, WHERE_FROM)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw invalid(text.trim() === '' ? 'it is empty' : 'it is no JSON')
  }
  if (!isObject(value) || value['type'] !== 'handover_report')
    throw invalid("its type is not 'handover_report'")
  const { version, side } = value
  if (version !== REPORT_VERSION) {
    throw new TapferryError(
      'REPORT_VERSION',
      `'${file}' is a report of version ${JSON.stringify(version) ?? 'none'}; this tapferry reads ${REPORT_VERSION}`,
      'make the page with the tapferry that wrote it',
    )
  }
  if (side !== 'source' && side !== 'destination')
    throw invalid("its side is neither 'source' nor 'destination'")
  const wrong = firstWrong(value, reportFields(side), '')
  if (wrong !== undefined) throw invalid(wrong)
  const report = value as unknown as HandoverReport
  if (report.netdevs.length === 0) throw invalid('it has no netdevs')
  return report
}

/** The next step of who gives something else. */
export const WHERE_FROM = "give what 'tapferry handover source' or 'dest' wrote with --report FILE"

/** What is wrong first, and where; undefined if nothing is. */
function firstWrong(value: unknown, kind: Kind, at: string): string | undefined {
  const wrong = (expected: string) =>
    value === undefined ? `${at} is missing` : `${at} should be ${expected}, not ${excerpt(value)}`
  if (typeof kind === 'string') return SCALARS[kind](value) ? undefined : wrong(`a ${kind}`)
  if (isChoice(kind))
    return kind.some(choice => choice === value) ? undefined : wrong(`one of ${kind.join(', ')}`)
  if (isList(kind)) {
    if (!Array.isArray(value)) return wrong('a list')
    return first(value.keys(), index => firstWrong(value[index], kind.list, `${at}[${index}]`))
  }
  if (!isObject(value)) return wrong('an object')
  const inside = at === '' ? '' : `${at}.`
  return first(Object.entries(kind), ([field, inner]) => firstWrong(value[field], inner, `${inside}${field}`))
}

function first<T>(items: Iterable<T>, find: (item: T) => string | undefined): string | undefined {
  for (const item of items) {
    const found = find(item)
    if (found !== undefined) return found
  }
  return undefined
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isChoice(kind: Kind): kind is readonly (string | number | null)[] {
  return Array.isArray(kind)
}

function isList(kind: Fields | ListOf): kind is ListOf {
  return Array.isArray(kind['list']) || isObject(kind['list'])
}

/** As much of a wrong value as a line takes. */
function excerpt(value: unknown): string {
  const text = JSON.stringify(value)
  return text.length > 40 ? `${text.slice(0, 40)}...` : text
}
