/** The moments at which a tapferry is killed, each told by a line of its own --json. */

import type { Side } from './ferries.ts'

export interface Kill {
  readonly side: Side
  readonly moment: string
  readonly line: RegExp
  /** From that line on. */
  readonly afterMs: number
}

const READY = /"type":"ready"/
const RESUME = /"event":"run_state","running":true/

export const KILLS: readonly Kill[] = [
  { side: 'source', moment: 'armed', line: READY, afterMs: 0 },
  { side: 'source', moment: 'calibrate', line: state('calibrate'), afterMs: 0 },
  { side: 'source', moment: 'forward', line: state('forward'), afterMs: 0 },
  { side: 'source', moment: 'forward + 150 ms', line: state('forward'), afterMs: 150 },
  { side: 'source', moment: 'drain', line: state('drain'), afterMs: 0 },
  { side: 'dest', moment: 'gated', line: READY, afterMs: 0 },
  { side: 'dest', moment: 'passing', line: state('passing'), afterMs: 0 },
  { side: 'dest', moment: 'passing + 150 ms', line: state('passing'), afterMs: 150 },
  { side: 'dest', moment: 'RESUME', line: RESUME, afterMs: 0 },
  { side: 'dest', moment: 'RESUME + 300 ms', line: RESUME, afterMs: 300 },
]

function state(name: string): RegExp {
  return new RegExp(`"event":"state",.*"state":"${name}"`)
}
