/** Who else is at the interfaces: other captures, tc filters. Pure. */

import type { TrafficFilter } from '../../binding.ts'
import type { End, Facts } from '../facts.ts'
import { type Finding, info, ok, warning } from '../finding.ts'
import { at } from '../shell.ts'
import { nameOf } from './interfaces.ts'

/** A program attached without a tc filter; a tc filter of kind bpf has one, too. */
const TCX = 'tcx'

export function checkCapture({ input, output, request }: Facts): Finding[] {
  const findings: Finding[] = []
  if (input?.facts !== undefined) {
    findings.push(...checkCapturers(input))
    // Frames from the guest are captured before any ingress filter sees them.
    if (request.queue !== 'rx') {
      findings.push(...checkFilters(input, 'what a filter drops or redirects is not captured'))
    }
  }
  if (output?.facts !== undefined) {
    findings.push(...checkFilters(output, 'what is injected passes it, and may be dropped or sent elsewhere'))
  }
  const ends = [input, output].flatMap(end => (end?.facts === undefined ? [] : nameOf(end)))
  if (findings.length > 0 || ends.length === 0) return findings
  return [ok('NOBODY_ELSE', ends.join(', '), 'no other capture, and no tc filter in the way')]
}

function checkCapturers(end: End): Finding[] {
  if (end.capturers.length === 0) return []
  const who = end.capturers.map(({ name, pid }) => `${name} (pid ${pid})`).join(', ')
  return [
    info(
      'OTHER_CAPTURES',
      nameOf(end),
      `it is captured from already: ${who}; each capture costs the sender time`,
    ),
  ]
}

function checkFilters(end: End, consequence: string): Finding[] {
  const filters = (end.facts?.filters ?? []).filter(({ direction }) => direction === 'egress')
  // Those of one priority are one classifier to tc, and go together.
  const alike = ({ kind, priority, programId }: TrafficFilter): string =>
    `${kind} ${priority} ${programId ?? ''}`
  return [...new Map(filters.map(filter => [alike(filter), filter])).values()].map(filter => {
    const { kind, priority, actions, programId } = filter
    const does = actions.length > 0 ? `, action ${actions.join(', ')}` : ''
    const what = kind === TCX ? `tcx program ${programId}` : `tc filter ${kind}${does}`
    return warning(
      'EGRESS_FILTER',
      nameOf(end),
      `${what} is on its egress: ${consequence}`,
      remedy(end, filter, priority),
    )
  })
}

function remedy(
  end: End,
  { kind, programId }: TrafficFilter,
  priority: number,
): { fix?: string; note?: string } {
  if (kind === TCX) return { note: `bpftool prog show id ${programId} tells more; its owner detaches it` }
  return { fix: at(end, 'tc', 'filter', 'del', 'dev', end.place.interface, 'egress', 'pref', priority, kind) }
}
