import { Command } from 'clipanion'
import { ExitStatus } from '../errors.ts'
import {
  checkDestinationOptions,
  checkSourceOptions,
  cleanupOptions,
  DEFAULT_MEET_MS,
  destinationOptions,
  sourceOptions,
} from '../handover/options.ts'
import {
  type HandoverPlan,
  planCheckDestination,
  planCheckSource,
  planDestination,
  planSource,
} from '../handover/plan.ts'
import { declareOptions, optionValues } from '../options/declare.ts'
import type { ColorMode } from '../output/color.ts'
import { planLines, planRecord } from '../output/handover-plan.ts'
import { Printer } from '../output/printer.ts'

/** `tapferry handover source` */
export class HandoverSourceCommand extends Command {
  static override paths = [['handover', 'source']]

  constructor() {
    super()
    declareOptions(this, sourceOptions)
  }

  async execute(): Promise<ExitStatus> {
    const options = optionValues(this, sourceOptions)
    const plan = planSource(options)
    const printer = printerFor(options)
    if (options.dryRun) return printPlan(plan, printer)
    const { handOverSource } = await import('../handover/source-session.ts')
    return handOverSource(plan, printer)
  }
}

/** `tapferry handover dest` */
export class HandoverDestinationCommand extends Command {
  static override paths = [['handover', 'dest']]

  constructor() {
    super()
    declareOptions(this, destinationOptions)
  }

  async execute(): Promise<ExitStatus> {
    const options = optionValues(this, destinationOptions)
    const plan = planDestination(options)
    const printer = printerFor(options)
    if (options.dryRun) return printPlan(plan, printer)
    const { handOverDestination } = await import('../handover/destination-session.ts')
    return handOverDestination(plan, printer)
  }
}

/** `tapferry handover check source` */
export class HandoverCheckSourceCommand extends Command {
  static override paths = [['handover', 'check', 'source']]

  constructor() {
    super()
    declareOptions(this, checkSourceOptions)
  }

  async execute(): Promise<ExitStatus> {
    const options = optionValues(this, checkSourceOptions)
    return check(planCheckSource(options), options)
  }
}

/** `tapferry handover check dest` */
export class HandoverCheckDestinationCommand extends Command {
  static override paths = [['handover', 'check', 'dest']]

  constructor() {
    super()
    declareOptions(this, checkDestinationOptions)
  }

  async execute(): Promise<ExitStatus> {
    const options = optionValues(this, checkDestinationOptions)
    return check(planCheckDestination(options), options)
  }
}

/** `tapferry handover cleanup` */
export class HandoverCleanupCommand extends Command {
  static override paths = [['handover', 'cleanup']]

  constructor() {
    super()
    declareOptions(this, cleanupOptions)
  }

  async execute(): Promise<ExitStatus> {
    const printer = printerFor(optionValues(this, cleanupOptions))
    const { putLeftoversRight, tellLeftovers } = await import('../handover/leftovers.ts')
    const { restoreCapabilities, tellCapabilities } = await import('../handover/capability-leftovers.ts')
    const queues = await putLeftoversRight({ force: true })
    tellLeftovers(queues, printer)
    const capabilities = await restoreCapabilities()
    tellCapabilities(capabilities, printer)
    const found = [...queues, ...capabilities]
    if (found.length === 0) printer.notice('nothing is left of a handover on this host')
    return found.some(({ problem }) => problem !== undefined) ? ExitStatus.Failed : ExitStatus.Done
  }
}

interface OutputOptions {
  json: true | undefined
  color: ColorMode | undefined
  quiet?: true | undefined
  verbose?: true | undefined
}

function printerFor({ json, quiet, verbose, color }: OutputOptions): Printer {
  return new Printer({
    json: json ?? false,
    level: quiet ? 'quiet' : verbose ? 'verbose' : 'normal',
    color: color ?? 'auto',
  })
}

function printPlan(plan: HandoverPlan, printer: Printer): ExitStatus {
  if (printer.json) printer.record('plan', planRecord(plan))
  else printer.data(planLines(plan, printer.stdoutColors))
  return ExitStatus.Done
}

async function check(
  plan: HandoverPlan,
  options: Omit<OutputOptions, 'quiet'> & { strict: true | undefined; meet: number | undefined },
): Promise<ExitStatus> {
  const { rehearse } = await import('../handover/check/index.ts')
  const printer = printerFor({ ...options, verbose: undefined })
  const findings = await rehearse(plan, options.meet ?? DEFAULT_MEET_MS, printer)
  const { printDiagnosis } = await import('../output/findings.ts')
  return printDiagnosis(findings, printer, {
    all: options.verbose ?? false,
    strict: options.strict ?? false,
  })
}
