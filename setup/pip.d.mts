export declare const PIPS: string[][];
export declare function pipInstall(pip: string[], target: string, packages: string[], limitS: number): Promise<void>;
