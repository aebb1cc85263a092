/** What `tapferry run` is asked to do, in its own words or in those of QEMU, to plans. Throws usage errors. Pure. */

import { TapferryError } from '../errors.ts'
import { allNames, longName, type Option, takesValue } from '../options/option.ts'
import { usageError } from '../options/values.ts'
import { quote, withoutOptions } from '../options/words.ts'
import { type RunOptions, runOptions } from '../run/options.ts'
import { planRun, type RunPlan } from '../run/plan.ts'
import { type Job, jobsOf } from './jobs.ts'

export interface RunPlans {
  readonly plans: readonly RunPlan[]
  /** For people, a line each. */
  readonly notes: readonly string[]
}

type Key = keyof RunOptions

/** What every object says for itself. */
const OF_OBJECTS = [
  ...(['inNetdev', 'outNetdev', 'indev', 'outdev'] as const),
  ...(['queue', 'status', 'vnetHdrSupport', 'tlsCreds'] as const),
]

/** Options that have a meaning for some jobs only: for which. */
const FITS = new Map<Key, (job: Job) => boolean>([
  ['latency', ({ texts }) => 'inNetdev' in texts],
  ['offloads', ({ texts }) => 'outdev' in texts],
  ['outNetns', ({ texts }) => 'outNetdev' in texts],
  ['insecure', ({ texts }) => /^tcp:.*,server$/.test(texts['indev'] ?? texts['outdev'] ?? '')],
])

/** `argv`: the words behind `tapferry run`. */
export function planAll(options: RunOptions, argv: readonly string[]): RunPlans {
  const { chardev, object, qmp, hold, enableWhenStopped, onlyWhenStopped } = options
  if (chardev === undefined && object === undefined) return { plans: [planRun(options)], notes: [] }
  const twice = OF_OBJECTS.find(key => options[key] !== undefined)
  if (twice !== undefined) {
    throw usageError(
      `${nameOf(twice)} does not go with --chardev and --object: each object says that for itself`,
      'leave it out; --dry-run shows each object in options such as this one',
    )
  }
  const holdsWhileStopped = qmp !== undefined && (hold ?? enableWhenStopped ?? onlyWhenStopped) === undefined
  const { jobs, notes } = jobsOf(chardev ?? [], object ?? [], holdsWhileStopped)
  return { plans: jobs.map(job => planOf(job, jobs, options, argv)), notes }
}

function planOf(job: Job, jobs: readonly Job[], options: RunOptions, argv: readonly string[]): RunPlan {
  // What fits none of them is left to be refused.
  const unfit = [...FITS].filter(([, fits]) => !fits(job) && jobs.some(fits)).map(([key]) => key)
  const said = Object.entries(job.texts) as [Key, string][]
  const replaced = ['chardev', 'object', ...unfit, ...said.map(([key]) => key)]
  const kept = Object.entries(options).filter(([key]) => !replaced.includes(key))
  try {
    const read = said.map(([key, text]) => [key, specOf(key).parse(text, nameOf(key))])
    const plan = planRun(Object.fromEntries([...kept, ...read]) as RunOptions)
    const gone = [...replaced, 'dryRun'] as Key[]
    const words = [...said.map(([key, text]) => wordOf(key, text)), ...withoutOptions(argv, namesOf(gone))]
    return { ...plan, object: { id: job.id, command: ['tapferry', 'run', ...words].map(quote).join(' ') } }
  } catch (error) {
    const { code, message, hint } = TapferryError.from(error)
    throw new TapferryError(code, `${job.subject}: ${message}`, hint, { cause: error })
  }
}

function specOf(key: Key): Option<unknown> {
  return runOptions[key] as Option<unknown>
}

function nameOf(key: Key): string {
  return longName(specOf(key))
}

function wordOf(key: Key, text: string): string {
  return specOf(key).value === undefined ? nameOf(key) : `${nameOf(key)}=${text}`
}

/** Whether the value may be the next word. */
function namesOf(keys: readonly Key[]): Map<string, boolean> {
  const specs = keys.map(specOf)
  return new Map(specs.flatMap(spec => allNames(spec).map(name => [name, takesValue(spec)] as const)))
}
